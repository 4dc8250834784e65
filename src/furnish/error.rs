//! A step of furnishing that failed, as one line.

use core::fmt;

use crate::{etc::EtcError, fragments::search::SearchError, sysusers::SysusersError};

/// A step of furnishing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The base directories.
    Base,
    /// The rules of etc.conf.
    Rules,
    /// The settings of systemd-firstboot.
    Settings,
    /// The copy of the factory.
    Copy,
    /// The update of /etc.
    Update,
    /// systemd's stamps.
    Stamps,
    /// The machine id.
    MachineId,
    /// The manifest.
    Manifest,
}

impl Step {
    /// The step's object, and the fault.
    fn text(self) -> &'static str {
        match self {
            Self::Base => "the base directories of the root are not complete",
            Self::Rules => "the rules for /etc are not known",
            Self::Settings => "/etc has not the settings that came as credentials",
            Self::Copy => "/etc is not a copy of the factory's",
            Self::Update => "/etc does not follow this /usr",
            Self::Stamps => "systemd is not told that /usr is another one",
            Self::MachineId => "the machine id is not kept on the root",
            Self::Manifest => "the root does not remember which /usr its /etc follows",
        }
    }
}

/// The reason why a root is not furnished: the object, the cause, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FurnishError {
    /// A step in /etc or beside it.
    Etc {
        /// The step.
        step: Step,
        /// The cause.
        cause: EtcError,
    },
    /// The search for tmpfiles.d.
    Links(SearchError),
    /// The user databases.
    Users(SysusersError),
}

impl fmt::Display for FurnishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Etc { step, cause } => write!(f, "{}: {cause}", step.text()),
            Self::Links(SearchError { step, path, errno }) => {
                write!(f, "/etc has no links by tmpfiles.d: cannot {step} {path}: {errno}: check the image")
            }
            Self::Users(cause) => write!(f, "the root lacks users of sysusers.d: {cause}"),
        }
    }
}

impl core::error::Error for FurnishError {}

/// Names the step that an error of /etc comes from.
pub(super) trait At<T> {
    /// The result, its error with the step.
    fn at(self, step: Step) -> Result<T, FurnishError>;
}

impl<T> At<T> for Result<T, EtcError> {
    fn at(self, step: Step) -> Result<T, FurnishError> {
        self.map_err(|cause| FurnishError::Etc { step, cause })
    }
}
