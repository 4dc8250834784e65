//! The program that becomes PID 1 after us, executed.

use std::{
    ffi::CString,
    fs::File,
    os::{
        fd::AsFd as _,
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::Path,
};

use crate::{
    boot::failure::Failure,
    image::NextInit,
    info,
    sys::{console, exec, watchdog},
};

/// Goes straight to systemd: hermetic-init was started a second time in the same boot, because `init=` of the real root
/// names it. Returns only the failure.
pub fn pass_through(next: &NextInit) -> Failure {
    let found = File::open("/")
        .map_err(|error| error.to_string())
        .and_then(|root| next.find_another(root.as_fd()).map_err(|none| none.reason));
    match found {
        Ok(init) => {
            info!("started again as the init of the real root; passing on to {}", init.display());
            execute(&init, &[])
        }
        Err(reason) => Failure::new(reason),
    }
}

/// Becomes the next init: the kernel's arguments and environment are passed on unchanged, with the additions, signals
/// are as the kernel gives them to PID 1, and every descriptor above 2 closes itself. Returns only the failure.
pub fn execute(path: &Path, environment: &[(&'static str, &'static str)]) -> Failure {
    if let Err(error) = console::open() {
        info!("no console: {error}");
    }
    // systemd opens it anew, if it is told to.
    watchdog::stop();
    // What the kernel gave, and the path of a file, do not contain a NUL.
    let text = |bytes: Vec<u8>| CString::new(bytes).unwrap_or_default();
    let words: Vec<_> = std::env::args_os().skip(1).map(|word| text(word.into_vec())).collect();
    let added = |name: &[u8]| environment.iter().any(|(added, _)| added.as_bytes() == name);
    let given = std::env::vars_os().filter(|(name, _)| !added(name.as_bytes()));
    let given = given.map(|(name, value)| [name.as_bytes(), value.as_bytes()].join(&b'='));
    let ours = environment.iter().map(|(name, value)| format!("{name}={value}").into_bytes());
    let variables: Vec<_> = given.chain(ours).map(text).collect();
    let error = exec::execute(&text(path.as_os_str().as_bytes().to_vec()), &words, &variables);
    Failure::new(format!("cannot execute {}: {error}", path.display()))
}
