//! A TPM 2.0 for a machine: swtpm of the tool root, with its own state.

use crate::toolroot::ToolRoot;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// The time that swtpm may take to listen, on a busy host.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running simulator. It is killed when this value goes away; the TPM's persistent state stays in its directory.
#[derive(Debug)]
pub struct Tpm {
    child: Child,
    socket: PathBuf,
}

impl Tpm {
    /// Starts the simulator with the state in `directory`, which is made when it is missing.
    ///
    /// # Errors
    /// It cannot be started, or does not listen.
    pub fn start(tools: &ToolRoot, directory: &Path) -> Result<Self> {
        Self::listening(tools, directory, "--ctrl", &[])
    }

    /// The same, for commands from outside of any machine.
    pub(crate) fn start_bare(tools: &ToolRoot, directory: &Path) -> Result<Self> {
        Self::listening(tools, directory, "--server", &["--flags", "not-need-init,startup-clear"])
    }

    fn listening(tools: &ToolRoot, directory: &Path, channel: &str, options: &[&str]) -> Result<Self> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the TPM's directory {}", directory.display()))?;
        let socket = directory.join("socket");
        // The socket of a killed run would look as if it listened.
        if socket.exists() {
            std::fs::remove_file(&socket).with_context(|| format!("cannot remove {}", socket.display()))?;
        }
        let child = tools
            .leashed("swtpm")?
            .args(["socket", "--tpm2", "--tpmstate"])
            .arg(format!("dir={}", directory.display()))
            .arg(channel)
            .arg(format!("type=unixio,path={}", socket.display()))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start swtpm")?;
        let mut tpm = Self { child, socket };
        let begin = Instant::now();
        while !tpm.socket.exists() {
            if let Some(status) = tpm.child.try_wait().context("cannot watch swtpm")? {
                let mut said = String::new();
                if let Some(stderr) = &mut tpm.child.stderr {
                    std::io::Read::read_to_string(stderr, &mut said).context("cannot read swtpm's words")?;
                }
                bail!("swtpm ended with {status}: {}", said.trim());
            }
            if begin.elapsed() > PATIENCE {
                bail!("swtpm does not listen on {}", tpm.socket.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(tpm)
    }

    /// The path of its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The arguments of QEMU for it.
    #[must_use]
    pub fn arguments(&self) -> [String; 6] {
        [
            "-chardev".to_owned(),
            format!("socket,id=tpm,path={}", self.socket.display()),
            "-tpmdev".to_owned(),
            "emulator,id=tpm,chardev=tpm".to_owned(),
            "-device".to_owned(),
            "tpm-tis,tpmdev=tpm".to_owned(),
        ]
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // Both fail when it has ended, which is intended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
