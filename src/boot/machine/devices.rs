//! Drivers for the hardware that is there, and the wait for the disks behind them.

use std::{
    fs, io,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
    time::Duration,
};

use crate::{
    boot::{
        disks::Survey,
        failure::{Failure, OrFail as _},
    },
    config::Config,
    debug,
    image::Missing,
    sys::{
        clock::Deadline,
        efi,
        module::{ModuleError, Modules, TABLES},
        mount, tty,
        uevent::{Uevent, Uevents},
    },
    warning,
};

/// The result of a look at the block devices.
pub enum Look<T> {
    /// This.
    Found(T),
    /// Nothing so far, and why.
    NotYet(String),
}

/// The drivers, and the kernel's announcements of new devices.
pub struct Devices {
    modules: Modules,
    uevents: Uevents,
    survey: Survey,
    patience: Duration,
}

impl Devices {
    /// Subscribes to the kernel's announcements, then loads the fixed modules and the drivers of present devices.
    ///
    /// # Errors
    /// No netlink, an unreadable module table, a fixed module that does not load.
    pub fn start(config: &Config, survey: Survey) -> Result<Self, Failure> {
        let uevents = Uevents::subscribe().or_fail(|| "cannot listen to the kernel's uevents".into())?;
        let mut modules = Modules::read(TABLES)
            .or_fail(|| format!("cannot read the tables in {TABLES}"))?
            .with(&config.modules_blocked, &config.module_parameters);
        modules.load_fixed().or_fail(|| "cannot load what every boot needs".into())?;
        // The disks first, then what /usr will need; it is checked while the disks are probed.
        let ahead: &[&str] = if config.usr.verity.is_some() { &["dm-verity"] } else { &[] };
        complain(&modules.load_ahead(ahead));
        for name in &config.modules_load {
            match modules.load_named(name) {
                Ok(true) => {}
                Ok(false) if Path::new("/sys/module").join(name).exists() => {}
                Ok(false) => warning!("modules_load={name}: the initramfs has no such module"),
                Err(error) => warning!("modules_load={name}: {error}"),
            }
        }
        complain(&modules.coldplug());
        debug!("{} modules loaded", modules.loaded());
        efi_variables(&mut modules);
        Ok(Self { modules, uevents, survey, patience: config.hermetic.device_timeout })
    }

    /// Ends the look at the disks. What still waits for one that does not answer is left behind, and the disk is named.
    pub fn end(self) {
        let silent = self.survey.end();
        if !silent.is_empty() {
            warning!(
                "{}: no answer to a read up to the end; a process of ours is left that waits for it; check the disk",
                silent.join(", ")
            );
        }
    }

    /// Loads what `name` (`dm-verity`, `fs-erofs`, ...) needs, if it is not built in.
    ///
    /// # Errors
    /// A module that does not load.
    pub fn demand(&mut self, name: &str) -> Result<(), Failure> {
        let known = self.modules.demand(name).or_fail(|| format!("cannot load what {name} needs"))?;
        if !known {
            debug!("{name}: no module in the initramfs, taken to be built in");
        }
        Ok(())
    }

    /// True when the kernel mounts this file system, after its modules of the initramfs are loaded.
    ///
    /// # Errors
    /// As [`Devices::demand`].
    pub fn can_mount(&mut self, file_system: &str) -> Result<bool, Failure> {
        self.demand(&format!("fs-{file_system}"))?;
        let known =
            fs::read_to_string("/proc/filesystems").or_fail(|| "cannot read /proc/filesystems".into())?;
        Ok(known.lines().any(|line| line.split_ascii_whitespace().last() == Some(file_system)))
    }

    /// Waits until `look` finds `subject` among the block devices. It is called once for the present devices, then
    /// again after every change and for every device that answers late, without polling. While it finds nothing, drivers are loaded for new devices. Drivers
    /// probe side by side: a device that was announced during a successful look may qualify as well, and then it looks
    /// again. Every subject has the whole time that the command line gives a device: one that came late does not
    /// shorten the time of the next.
    ///
    /// # Errors
    /// `look` refuses at once; the deadline passed.
    pub fn wait<T>(
        &mut self,
        subject: &str,
        mut look: impl FnMut(&Survey) -> Result<Look<T>, Failure>,
    ) -> Result<T, Failure> {
        let deadline = Deadline::after(self.patience);
        loop {
            self.survey.list().or_fail(|| "cannot look at the disks".into())?;
            let why_not = match look(&self.survey)? {
                Look::Found(found) => {
                    let news = self.attend().or_fail(|| "cannot read the kernel's uevents".into())?;
                    if news && deadline.left().is_some() {
                        continue;
                    }
                    for name in self.survey.silent() {
                        warning!("{name} does not answer and is left out; check the disk");
                    }
                    return Ok(found);
                }
                Look::NotYet(why_not) => why_not,
            };
            if self.until_block_event(&deadline)? {
                continue;
            }
            let names = self.survey.devices().iter().map(|device| device.name.as_str());
            let missing = Missing {
                subject,
                seconds: self.patience.as_secs(),
                why_not: &why_not,
                there: &names.collect::<Vec<_>>(),
                silent: &self.survey.silent(),
            };
            return Err(Failure::new(missing.to_string()));
        }
    }

    /// Waits for a node that is not a block device, as long as a disk may take. Returns true when it exists.
    ///
    /// # Errors
    /// The announcements cannot be read.
    pub fn wait_for_node(&mut self, node: &Path) -> Result<bool, Failure> {
        let deadline = Deadline::after(self.patience);
        loop {
            if node.exists() {
                return Ok(true);
            }
            let Some(left) = deadline.left() else { return Ok(false) };
            let event = self.uevents.next(left);
            match event.or_fail(|| "cannot read the kernel's uevents".into())? {
                Some(event) => drop(self.handle(&event)),
                None => return Ok(false),
            }
        }
    }

    /// The descriptor that becomes readable when the kernel announces something.
    pub fn announcements(&self) -> BorrowedFd<'_> {
        self.uevents.as_fd()
    }

    /// Loads drivers for announced devices, without waiting for more. Returns true if the block devices may have
    /// changed.
    ///
    /// # Errors
    /// The announcements cannot be read.
    pub fn attend(&mut self) -> io::Result<bool> {
        let mut news = false;
        while let Some(event) = self.uevents.next(Duration::ZERO)? {
            news |= self.handle(&event);
        }
        Ok(news)
    }

    /// Handles announcements until one may have changed the block devices. False when the deadline passed.
    fn until_block_event(&mut self, deadline: &Deadline) -> Result<bool, Failure> {
        loop {
            let Some(left) = deadline.left() else { return Ok(false) };
            let ready = tty::wait(&[self.uevents.as_fd(), self.survey.late_answers()], Some(left))
                .or_fail(|| "cannot wait for the kernel's uevents".into())?;
            match ready {
                None => {}
                Some(0) => {
                    let event = self.uevents.next(Duration::ZERO);
                    let event = event.or_fail(|| "cannot read the kernel's uevents".into())?;
                    if event.is_some_and(|event| self.handle(&event)) {
                        // Disks come in crowds: one look for all that are there.
                        self.attend().or_fail(|| "cannot read the kernel's uevents".into())?;
                        return Ok(true);
                    }
                }
                Some(_) => return Ok(true),
            }
        }
    }

    /// True if the block devices should be looked at again. An event without subsystem is a lost one.
    fn handle(&mut self, event: &Uevent) -> bool {
        if let (Some(modalias), "add") = (&event.modalias, event.action.as_str()) {
            complain(&self.modules.announce(modalias).1);
        }
        if event.subsystem.is_empty() {
            complain(&self.modules.coldplug());
        }
        // A mapping that we make is no change of a disk. The head of an NVMe disk with several paths is one, and virtual as well.
        let is_block = event.subsystem.is_empty()
            || event.subsystem == "block" && !event.devpath.starts_with("/devices/virtual/block/");
        if is_block && event.action != "add" {
            self.survey.forget();
        }
        is_block
    }
}

/// Mounts efivarfs where there is EFI firmware: its variables say which disk we came from. Without them the search goes
/// over all disks, which is a warning's worth.
fn efi_variables(modules: &mut Modules) {
    if !Path::new(efi::FIRMWARE).exists() {
        return;
    }
    let mounted = modules.demand("efivarfs").map_err(|error| error.to_string()).and_then(|_| {
        if mount::is_mount_point(efi::MOUNT) {
            Ok(())
        } else {
            mount::api(&mount::EFIVARFS).map_err(|error| error.to_string())
        }
    });
    if let Err(error) = mounted {
        warning!("no EFI variables: {error}");
    }
}

/// A driver that fails does not stop the boot before it is known that its device matters.
fn complain(errors: &[ModuleError]) {
    for error in errors {
        warning!("{error}");
    }
}
