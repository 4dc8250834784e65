//! The answers of the devices: which table a disk has, and what a device holds. Each device is read in a thread of its own: one
//! that does not answer keeps its reader, for ever perhaps, and holds up no other.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rustix::event::{EventfdFlags, eventfd};

use super::{content::superblock, disk::Disk};
use crate::{
    debug,
    disk::{partition::Partition, probe::Superblock},
    sys::{
        block::{BlockDevice, Kind},
        clock::Deadline,
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
    Table(Option<Arc<Disk>>),
    Content(Option<Superblock>),
}

/// Asks a device. None, with a line in the log, when it cannot be read.
fn read(device: &BlockDevice, question: Question) -> Option<Answer> {
    match question {
        Question::Table => Disk::read(device)
            .map(|disk| Answer::Table(disk.map(Arc::new)))
            .inspect_err(|error| warning!("{error}; this disk is left out"))
            .ok(),
        Question::Content => superblock(&device.node())
            .map(Answer::Content)
            .inspect_err(|error| debug!("cannot read {}: {error}; it answers to no name", device.name))
            .ok(),
    }
}

/// The devices that are there, and their answers so far.
pub struct Survey {
    devices: Vec<BlockDevice>,
    shared: Arc<Shared>,
}

struct Shared {
    read: fn(&BlockDevice, Question) -> Option<Answer>,
    /// Readable once there are answers that nobody has looked at.
    bell: OwnedFd,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    readers: usize,
}

struct Asked {
    device: BlockDevice,
    question: Question,
    patience: Deadline,
    stage: Stage,
}

/// The way of a question.
enum Stage {
    Waiting,
    Reading,
    /// The device could not be read: it is asked again when it is looked at again.
    Failed,
    Answered(Answer),
}

impl Stage {
    fn is_open(&self) -> bool {
        matches!(self, Self::Waiting | Self::Reading)
    }
}

impl Survey {
    /// A survey that knows no device yet.
    ///
    /// # Errors
    /// The error of eventfd(2).
    pub fn new() -> io::Result<Self> {
        Self::by(read)
    }

    fn by(read: fn(&BlockDevice, Question) -> Option<Answer>) -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { devices: Vec::new(), shared: Arc::new(Shared { read, bell, state: Mutex::default() }) })
    }

    /// Lists the devices anew. Answers of those that are gone are forgotten.
    ///
    /// # Errors
    /// sysfs cannot be listed.
    pub fn list(&mut self) -> io::Result<()> {
        self.know(BlockDevice::all()?);
        Ok(())
    }

    fn know(&mut self, devices: Vec<BlockDevice>) {
        let mut state = self.shared.lock();
        state.asked.retain(|asked| {
            asked.stage.is_open() || !matches!(asked.stage, Stage::Failed) && devices.contains(&asked.device)
        });
        drop(state);
        self.devices = devices;
    }

    /// Forgets all answers: a device has changed.
    pub fn forget(&mut self) {
        self.shared.lock().asked.retain(|asked| asked.stage.is_open());
    }

    /// The devices that are there.
    pub fn devices(&self) -> &[BlockDevice] {
        &self.devices
    }

    /// The descriptor that becomes readable when a device answers late.
    pub fn late_answers(&self) -> BorrowedFd<'_> {
        self.shared.bell.as_fd()
    }

    /// Waits for the devices that have not answered, and names those that still have not.
    pub fn settle(&self, patience: Duration) -> Vec<String> {
        let patience = Deadline::after(patience);
        loop {
            let _nothing_rang = rustix::io::read(&self.shared.bell, &mut [0; 8]);
            let silent = self.silent();
            let Some(left) = patience.left().filter(|_| !silent.is_empty()) else { return silent };
            if let Err(error) = tty::wait(&[self.late_answers()], Some(left)) {
                warning!("cannot wait for disks: {error}");
                return silent;
            }
        }
    }

    /// The names of the devices that have not answered.
    pub fn silent(&self) -> Vec<String> {
        let state = self.shared.lock();
        let open = state.asked.iter().filter(|asked| asked.stage.is_open());
        open.map(|asked| asked.device.name.clone()).collect()
    }

    /// The disks with a table, of those for which `wanted` is true.
    pub fn tables(&self, wanted: &dyn Fn(&BlockDevice) -> bool) -> Vec<Arc<Disk>> {
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
        let devices: Vec<&BlockDevice> = self.devices.iter().filter(|device| wanted(device)).collect();
        let mut state = self.shared.lock();
        for device in &devices {
            if !state.asked.iter().any(|asked| asked.is(device, question)) {
                let device = (*device).clone();
                state.asked.push(Asked { device, question, patience, stage: Stage::Waiting });
            }
        }
        let waiting = state.asked.iter().filter(|asked| matches!(asked.stage, Stage::Waiting)).count();
        for _ in 0..waiting.min(READERS.saturating_sub(state.readers)) {
            let shared = self.shared.clone();
            match thread::Builder::new().spawn(move || shared.serve()) {
                Ok(_) => state.readers += 1,
                Err(error) => {
                    warning!("cannot start a thread: {error}");
                    break;
                }
            }
        }
        if state.readers == 0 {
            drop(state);
            self.shared.serve();
        } else {
            drop(state);
        }
        loop {
            let state = self.shared.lock();
            // Every answer that can be seen has rung.
            let _nothing_rang = rustix::io::read(&self.shared.bell, &mut [0; 8]);
            let of_these = |asked: &&Asked| devices.iter().any(|device| asked.is(device, question));
            let open = state.asked.iter().filter(of_these).filter(|asked| asked.stage.is_open());
            let left = open.filter_map(|asked| asked.patience.left()).max();
            let Some(left) = left else {
                return devices
                    .iter()
                    .filter_map(|device| {
                        let asked = state.asked.iter().find(|asked| asked.is(device, question))?;
                        match &asked.stage {
                            Stage::Answered(answer) => Some(((*device).clone(), answer.clone())),
                            _ => None,
                        }
                    })
                    .collect();
            };
            drop(state);
            if let Err(error) = tty::wait(&[self.late_answers()], Some(left)) {
                warning!("cannot wait for the disks: {error}");
                return Vec::new();
            }
        }
    }
}

impl Asked {
    fn is(&self, device: &BlockDevice, question: Question) -> bool {
        self.question == question && self.device == *device
    }
}

impl Shared {
    /// The work of one reader: question after question, as long as one waits.
    fn serve(&self) {
        loop {
            let mut state = self.lock();
            let Some(next) = state.asked.iter_mut().find(|asked| matches!(asked.stage, Stage::Waiting))
            else {
                state.readers = state.readers.saturating_sub(1);
                return;
            };
            next.stage = Stage::Reading;
            let (device, question) = (next.device.clone(), next.question);
            drop(state);
            let answer = (self.read)(&device, question);
            let mut state = self.lock();
            if let Some(asked) = state.asked.iter_mut().find(|asked| asked.is(&device, question)) {
                asked.stage = answer.map_or(Stage::Failed, Stage::Answered);
            }
            // A counter that is full rings already.
            let _rings_already = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    /// No reader panics while it has the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::units::DeviceNumber;

    fn disks(names: &[String]) -> Vec<BlockDevice> {
        let disk = |(minor, name): (usize, &String)| BlockDevice {
            name: name.clone(),
            number: DeviceNumber { major: 8, minor: minor as u32 },
            kind: Kind::Disk,
        };
        names.iter().enumerate().map(disk).collect()
    }

    fn survey(names: &[String], read: fn(&BlockDevice, Question) -> Option<Answer>) -> Survey {
        let mut survey = Survey::by(read).unwrap();
        survey.know(disks(names));
        survey
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
        static READ: AtomicUsize = AtomicUsize::new(0);
        let mut survey = survey(&names(0..100), |device, _| {
            READ.fetch_add(1, Ordering::SeqCst);
            match device.name.as_str() {
                "sd3" => loop {
                    thread::park();
                },
                "sd7" => None,
                _ => Some(Answer::Content(None)),
            }
        });
        let mut expected = names(0..100);
        expected.retain(|name| name != "sd3" && name != "sd7");
        assert_eq!(answered(&survey), expected);
        assert_eq!(survey.silent(), ["sd3"]);
        assert_eq!(READ.load(Ordering::SeqCst), 100);
        // Asked once, and not waited for again; one that could not be read is tried again.
        survey.know(disks(&names(0..100)));
        assert_eq!(answered(&survey), expected);
        assert_eq!((survey.silent(), READ.load(Ordering::SeqCst)), (vec!["sd3".to_owned()], 101));
        survey.forget();
        assert_eq!(answered(&survey), expected);
        assert_eq!(READ.load(Ordering::SeqCst), 101 + 99);
    }

    #[test]
    fn a_late_answer_counts_and_is_announced() {
        let survey = survey(&names(0..1), |_, _| {
            thread::sleep(GRACE + Duration::from_millis(200));
            Some(Answer::Content(None))
        });
        assert!(answered(&survey).is_empty());
        assert_eq!(survey.silent(), ["sd0"]);
        assert_eq!(tty::wait(&[survey.late_answers()], Some(GRACE)).unwrap(), Some(0));
        assert_eq!(answered(&survey), ["sd0"]);
        // Nothing is left that would wake the boot again.
        assert_eq!(tty::wait(&[survey.late_answers()], Some(Duration::ZERO)).unwrap(), None);
        assert_eq!(survey.silent(), Vec::<String>::new());
    }

    #[test]
    fn readers_are_few() {
        static NOW: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let survey = survey(&names(0..60), |_, _| {
            MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(5));
            NOW.fetch_sub(1, Ordering::SeqCst);
            Some(Answer::Content(None))
        });
        assert_eq!(answered(&survey).len(), 60);
        assert!(MOST.load(Ordering::SeqCst) <= READERS);
    }
}
