//! The answers of the devices: which table a disk has, and what a device holds. Each device is read by a process of its own: one
//! that does not answer keeps its reader, for ever perhaps, and holds up neither another nor the boot.

use std::{
    cell::{Cell, RefCell},
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    rc::Rc,
    time::Duration,
};

use super::{
    content::superblock_of,
    disk::Table,
    reads::{Reads, Recorder, Source},
};
use crate::{
    debug,
    disk::{gpt::Gpt, partition::Partition, probe::Superblock},
    sys::{
        block::{self, BlockDevice, Kind},
        clock::Deadline,
        fork_server::{ForkServer, Message, Work},
        tty,
    },
    warning,
};

/// The most readers at one time. With more devices each waits for its turn; with as many that do not answer, nobody has one.
const READERS: usize = 16;

/// The time that a device has for its answer before there is a choice without it. One that comes later still counts, as long
/// as there is none.
const GRACE: Duration = Duration::from_secs(5);

/// A question to a device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// The partition table of a disk.
    Table,
    /// The superblock at the start of a device.
    Content,
}

/// The answer of a device.
#[derive(Clone)]
enum Answer {
    Table(Option<Rc<Table>>),
    Content(Option<Superblock>),
}

impl Question {
    /// The first byte of a request; the path of the device follows.
    fn byte(self) -> u8 {
        match self {
            Self::Table => b't',
            Self::Content => b'c',
        }
    }

    /// The answer in what was read from a device. None, with a line in the log, when it could not be read.
    fn answer(self, device: &BlockDevice, read: Result<Reads, String>) -> Option<Answer> {
        match self {
            Self::Table => read
                .and_then(|reads| Table::read(device, &reads, reads.geometry()))
                .map(|table| Answer::Table(table.map(Rc::new)))
                .inspect_err(|error| warning!("{error}; this disk is left out"))
                .ok(),
            Self::Content => read
                .and_then(|reads| superblock_of(&reads, reads.size()).map_err(|error| error.to_string()))
                .map(Answer::Content)
                .inspect_err(|error| debug!("cannot read {}: {error}; it answers to no name", device.name))
                .ok(),
        }
    }
}

/// The work of a reader: it reads what the question needs. The boot looks at it again, so the results are of no interest here.
fn read(request: &[u8]) -> Result<Vec<u8>, String> {
    let Some((question, path)) = request.split_first() else { return Err("no question".into()) };
    let device = Recorder::open(Path::new(OsStr::from_bytes(path)))?;
    if *question == Question::Table.byte() {
        let _again = Gpt::read(&device as &Source, device.geometry());
    } else {
        let _again = superblock_of(&device, device.size());
    }
    // Closed before anybody hears of the answer: an open partition cannot be removed.
    let (node, reads) = device.stop();
    drop(node);
    Ok(reads.encode())
}

/// The devices that are there, and their answers so far.
pub struct Survey {
    devices: Vec<BlockDevice>,
    /// The number of changes of this process when the answers were asked for.
    changes: u32,
    readers: ForkServer,
    asked: RefCell<Vec<Asked>>,
    /// The number of the next request.
    number: Cell<u32>,
}

struct Asked {
    device: BlockDevice,
    question: Question,
    patience: Deadline,
    stage: Stage,
    /// True when a device has changed since the request: what is heard of it may be from before, and it is asked again.
    is_stale: bool,
}

/// The way of a question.
enum Stage {
    Waiting,
    /// The number of the request, and what was heard up to now.
    Reading(u32, Vec<u8>),
    /// The device could not be read: it is asked again when it is looked at again.
    Failed,
    Answered(Answer),
}

impl Stage {
    fn is_open(&self) -> bool {
        matches!(self, Self::Waiting | Self::Reading(..))
    }
}

impl Survey {
    /// A survey that knows no device yet. Its readers have in their memory what this process has now: no secret.
    ///
    /// # Errors
    /// There is no process for them.
    pub fn new() -> io::Result<Self> {
        Self::by(read)
    }

    fn by(work: Work) -> io::Result<Self> {
        let readers = ForkServer::start(c"disk-reader", work)?;
        Ok(Self {
            devices: Vec::new(),
            changes: block::changes(),
            readers,
            asked: RefCell::default(),
            number: Cell::new(0),
        })
    }

    /// Lists the devices anew. Answers of those that are gone are forgotten, and all when this process may have changed one since
    /// they were given: a table may be another one.
    ///
    /// # Errors
    /// sysfs cannot be listed; the readers are gone.
    pub fn list(&mut self) -> io::Result<()> {
        self.heed_changes();
        self.know(BlockDevice::all(&self.devices)?)
    }

    fn heed_changes(&mut self) {
        let changes = block::changes();
        if core::mem::replace(&mut self.changes, changes) != changes {
            self.forget();
        }
    }

    fn know(&mut self, devices: Vec<BlockDevice>) -> io::Result<()> {
        self.attend()?;
        self.asked.get_mut().retain(|asked| {
            asked.stage.is_open() || !matches!(asked.stage, Stage::Failed) && devices.contains(&asked.device)
        });
        self.devices = devices;
        Ok(())
    }

    /// Forgets all answers, also those under way, and what the devices are: one has changed.
    pub fn forget(&mut self) {
        self.devices.clear();
        self.asked.get_mut().retain(|asked| asked.stage.is_open());
        for asked in self.asked.get_mut() {
            asked.is_stale = matches!(asked.stage, Stage::Reading(..));
        }
    }

    /// The devices that are there.
    pub fn devices(&self) -> &[BlockDevice] {
        &self.devices
    }

    /// The descriptor that becomes readable when a device answers late.
    pub fn late_answers(&self) -> BorrowedFd<'_> {
        self.readers.as_fd()
    }

    /// The names of the devices that have not answered.
    pub fn silent(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for asked in self.asked.borrow().iter().filter(|asked| asked.stage.is_open()) {
            if !names.contains(&asked.device.name) {
                names.push(asked.device.name.clone());
            }
        }
        names
    }

    /// Ends all readers, and names the devices that have not answered: their readers are left behind, for nobody can end them.
    pub fn end(self) -> Vec<String> {
        // Readers that are gone are no reason against the next program. Nothing is asked any more.
        let _gone = self.hear();
        let silent = self.silent();
        self.readers.end();
        silent
    }

    /// The disks with a table, of those for which `wanted` is true.
    pub fn tables(&self, wanted: &dyn Fn(&BlockDevice) -> bool) -> Vec<Rc<Table>> {
        let disk = |device: &BlockDevice| device.kind == Kind::Disk && wanted(device);
        let answers = self.ask(Question::Table, &disk);
        let table = |(_, answer)| if let Answer::Table(table) = answer { table } else { None };
        answers.into_iter().filter_map(table).collect()
    }

    /// The table's entry for a partition; None when its disk has no GPT.
    pub fn entry(&self, device: &BlockDevice) -> Option<Partition> {
        let Kind::Partition { disk, number, .. } = &device.kind else { return None };
        self.tables(&|device| device.name == *disk).first()?.gpt.partition(*number).cloned()
    }

    /// The devices that hold something known, and its superblock.
    pub fn contents(&self) -> Vec<(BlockDevice, Superblock)> {
        let answers = self.ask(Question::Content, &|_| true);
        let content = |(device, answer)| match answer {
            Answer::Content(Some(content)) => Some((device, content)),
            _ => None,
        };
        answers.into_iter().filter_map(content).collect()
    }

    /// Asks every wanted device that was not asked before, and returns the answers that come in time.
    fn ask(&self, question: Question, wanted: &dyn Fn(&BlockDevice) -> bool) -> Vec<(BlockDevice, Answer)> {
        let patience = Deadline::after(GRACE);
        let devices = self.devices.iter().filter(|device| wanted(device));
        let mut all = self.asked.borrow_mut();
        // The place of each among all that was asked: nothing is forgotten before this is answered.
        let mut places = Vec::new();
        for device in devices {
            places.push(all.iter().position(|asked| asked.is(device, question)).unwrap_or_else(|| {
                let device = device.clone();
                all.push(Asked { device, question, patience, stage: Stage::Waiting, is_stale: false });
                all.len() - 1
            }));
        }
        drop(all);
        loop {
            if let Err(error) = self.attend() {
                warning!("nobody can read the disks: {error}");
                return Vec::new();
            }
            let all = self.asked.borrow();
            let these = || places.iter().filter_map(|place| all.get(*place));
            let open = these().filter(|asked| asked.stage.is_open());
            let left = open.filter_map(|asked| asked.patience.left()).max();
            let Some(left) = left else {
                let answer = |asked: &Asked| match &asked.stage {
                    Stage::Answered(answer) => Some((asked.device.clone(), answer.clone())),
                    _ => None,
                };
                return these().filter_map(answer).collect();
            };
            drop(all);
            if let Err(error) = tty::wait(&[self.late_answers()], Some(left)) {
                warning!("cannot wait for the disks: {error}");
                return Vec::new();
            }
        }
    }

    /// Takes what the readers have said.
    fn hear(&self) -> io::Result<()> {
        let mut all = self.asked.borrow_mut();
        while let Some((number, message)) = self.readers.hear()? {
            for asked in all.iter_mut() {
                asked.hear(number, &message);
            }
        }
        Ok(())
    }

    /// Takes what the readers have said, and gives those that are free the next questions.
    fn attend(&self) -> io::Result<()> {
        self.hear()?;
        let mut all = self.asked.borrow_mut();
        let reading = |asked: &&Asked| matches!(asked.stage, Stage::Reading(..));
        let free = READERS.saturating_sub(all.iter().filter(reading).count());
        for asked in all.iter_mut().filter(|asked| matches!(asked.stage, Stage::Waiting)).take(free) {
            let number = self.number.replace(self.number.get().wrapping_add(1));
            // What the server cannot take now waits until a reader has said something.
            if !self.readers.ask(number, &asked.request())? {
                break;
            }
            asked.stage = Stage::Reading(number, Vec::new());
        }
        Ok(())
    }
}

impl Asked {
    fn is(&self, device: &BlockDevice, question: Question) -> bool {
        self.question == question && self.device == *device
    }

    fn request(&self) -> Vec<u8> {
        [&[self.question.byte()], self.device.node().as_os_str().as_bytes()].concat()
    }

    /// Takes a message to the request of this number.
    fn hear(&mut self, number: u32, message: &Message) {
        let Stage::Reading(own, heard) = &mut self.stage else { return };
        if *own != number {
            return;
        }
        let read = match message {
            Message::More(more) => return heard.extend_from_slice(more),
            Message::End(rest) => {
                heard.extend_from_slice(rest);
                Reads::decode(heard).ok_or_else(|| "cut short".to_owned())
            }
            Message::Failed(error) => Err(error.clone()),
        };
        if core::mem::take(&mut self.is_stale) {
            (self.patience, self.stage) = (Deadline::after(GRACE), Stage::Waiting);
            return;
        }
        self.stage = self.question.answer(&self.device, read).map_or(Stage::Failed, Stage::Answered);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf, process, thread};

    use super::*;
    use crate::units::DeviceNumber;

    /// Devices below a directory of the test's, in which each reader leaves a file for each time that it was asked.
    fn disks(directory: &Path, names: &[String]) -> Vec<BlockDevice> {
        let disk = |(minor, name): (usize, &String)| BlockDevice {
            name: directory.join(name).display().to_string(),
            number: DeviceNumber { major: 8, minor: minor as u32 },
            kind: Kind::Disk,
            partuuid: None,
        };
        names.iter().enumerate().map(disk).collect()
    }

    struct Place(PathBuf);

    impl Place {
        fn new(test: &str) -> Self {
            let place = std::env::temp_dir().join(format!("hermetic-survey-{}-{test}", process::id()));
            fs::create_dir(&place).unwrap();
            Self(place)
        }

        fn survey(&self, names: &[String], work: Work) -> Survey {
            let mut survey = Survey::by(work).unwrap();
            survey.know(disks(&self.0, names)).unwrap();
            survey
        }

        /// The number of times that somebody was asked.
        fn read(&self) -> usize {
            fs::read_dir(&self.0).unwrap().count()
        }

        fn names(&self, names: &[String]) -> Vec<String> {
            names.iter().map(|name| self.0.join(name).display().to_string()).collect()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// Notes that a device is read; returns its name.
    fn note(request: &[u8]) -> String {
        let path = Path::new(OsStr::from_bytes(&request[1..]));
        fs::write(path.with_extension(process::id().to_string()), "").unwrap();
        path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// The words of a reader of a device without a byte.
    fn nothing() -> Result<Vec<u8>, String> {
        Ok(vec![0; 28])
    }

    fn answered(survey: &Survey) -> Vec<String> {
        let answers = survey.ask(Question::Content, &|_| true).into_iter();
        answers.map(|(device, _)| device.name).collect()
    }

    fn names(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| format!("sd{number}")).collect()
    }
    #[test]
    fn a_disk_that_does_not_answer_holds_up_no_other() {
        let place = Place::new("silent");
        let mut survey = place.survey(&names(0..100), |request| match note(request).as_str() {
            // Longer than anybody waits, and it ends.
            "sd3" => {
                thread::sleep(Duration::from_secs(60));
                nothing()
            }
            "sd7" => Err("no medium".into()),
            _ => nothing(),
        });
        let mut expected = names(0..100);
        expected.retain(|name| name != "sd3" && name != "sd7");
        let (expected, silent) = (place.names(&expected), place.names(&names(3..4)));
        assert_eq!(answered(&survey), expected);
        assert_eq!(survey.silent(), silent);
        assert_eq!(place.read(), 100);
        // Asked once, and not waited for again; one that could not be read is tried again.
        survey.know(disks(&place.0, &names(0..100))).unwrap();
        assert_eq!(answered(&survey), expected);
        assert_eq!((survey.silent(), place.read()), (silent.clone(), 101));
        survey.forget();
        survey.know(disks(&place.0, &names(0..100))).unwrap();
        assert_eq!(answered(&survey), expected);
        assert_eq!(place.read(), 101 + 99);
    }

    #[test]
    fn a_late_answer_counts_and_is_announced() {
        let place = Place::new("late");
        let survey = place.survey(&names(0..1), |_| {
            thread::sleep(GRACE + Duration::from_secs(2));
            nothing()
        });
        assert!(answered(&survey).is_empty());
        assert_eq!(survey.silent(), place.names(&names(0..1)));
        assert_eq!(tty::wait(&[survey.late_answers()], Some(GRACE)).unwrap(), Some(0));
        assert_eq!(answered(&survey), place.names(&names(0..1)));
        // Nothing is left that would wake the boot again.
        assert_eq!(tty::wait(&[survey.late_answers()], Some(Duration::ZERO)).unwrap(), None);
        assert_eq!(survey.silent(), Vec::<String>::new());
    }

    #[test]
    fn an_answer_from_before_a_change_is_asked_for_again() {
        let place = Place::new("stale");
        let mut survey = place.survey(&names(0..1), |request| {
            note(request);
            let directory = Path::new(OsStr::from_bytes(&request[1..])).parent().unwrap();
            if fs::read_dir(directory).unwrap().count() == 1 {
                thread::sleep(GRACE + Duration::from_secs(2));
            }
            nothing()
        });
        assert!(answered(&survey).is_empty());
        survey.forget();
        survey.know(disks(&place.0, &names(0..1))).unwrap();
        assert_eq!(tty::wait(&[survey.late_answers()], Some(2 * GRACE)).unwrap(), Some(0));
        assert_eq!(answered(&survey), place.names(&names(0..1)));
        assert_eq!(place.read(), 2);
    }

    #[test]
    fn a_node_that_was_written_makes_answers_old() {
        let place = Place::new("written");
        let mut survey = place.survey(&names(0..1), |request| {
            note(request);
            nothing()
        });
        assert_eq!(answered(&survey).len(), 1);
        let file = place.0.join("table");
        fs::write(&file, "").unwrap();
        let before = place.read();
        drop(block::Node::open_shared(&file).unwrap());
        survey.heed_changes();
        survey.know(disks(&place.0, &names(0..1))).unwrap();
        assert_eq!(answered(&survey).len(), 1);
        assert_eq!(place.read(), before + 1);
    }

    #[test]
    fn readers_are_few() {
        let place = Place::new("few");
        let survey = place.survey(&names(0..60), |request| {
            let path = Path::new(OsStr::from_bytes(&request[1..]));
            fs::write(path, "").unwrap();
            thread::sleep(Duration::from_millis(5));
            let now = fs::read_dir(path.parent().unwrap()).unwrap().count();
            fs::remove_file(path).unwrap();
            if now > READERS { Err(format!("{now} at one time")) } else { nothing() }
        });
        assert_eq!(answered(&survey).len(), 60);
    }

    #[test]
    fn readers_that_are_gone_are_no_answer() {
        let place = Place::new("gone");
        let mut survey = place.survey(&names(0..3), |_| nothing());
        // As if the kernel had ended it for want of memory.
        rustix::process::kill_process(survey.readers.process(), rustix::process::Signal::KILL).unwrap();
        assert!(answered(&survey).is_empty());
        assert!(survey.list().is_err());
    }
}
