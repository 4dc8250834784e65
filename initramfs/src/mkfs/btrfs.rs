//! The arguments that only btrfs knows: copies of metadata, subvolumes.

use hermetic_init::{
    file_system::FileSystem,
    mkfs::btrfs::{Choices, Profile, Subvolume, SubvolumeFlags},
};

use super::Error;

/// The options of btrfs alone.
#[derive(clap::Args)]
#[group(id = "btrfs")]
pub struct Args {
    /// btrfs: copies of metadata, dup (two) or single; dup unless given
    #[arg(long, short, value_name = "PROFILE")]
    metadata: Option<Profile>,
    /// btrfs: a subvolume to make, and the directories above it; :ro makes it read-only, :nodatacow writes its files in
    /// place
    #[arg(long, value_name = "PATH[:ro,nodatacow]")]
    subvol: Vec<String>,
    /// btrfs: the subvolume that is mounted when none is named
    #[arg(long, value_name = "PATH")]
    default_subvol: Option<String>,
}

impl Args {
    /// The subvolumes as they are in the end, if this file system supports them.
    pub fn subvolumes(&self, system: FileSystem) -> Result<Vec<Subvolume<'_>>, Error> {
        let asked = [
            (self.metadata.is_some(), "--metadata"),
            (!self.subvol.is_empty(), "--subvol"),
            (self.default_subvol.is_some(), "--default-subvol"),
        ];
        match asked.into_iter().find(|(asked, _)| *asked) {
            Some((_, option)) if !system.has_subvolumes() => Err(Error::OnlyBtrfs { option, system }),
            _ => self.subvol.iter().map(|word| subvolume(word)).collect(),
        }
    }

    /// The choices, with these subvolumes.
    pub fn choices<'a>(&'a self, subvolumes: &'a [Subvolume<'a>]) -> Choices<'a> {
        Choices {
            metadata: self.metadata.unwrap_or_default(),
            subvolumes,
            default_subvolume: self.default_subvol.as_deref(),
        }
    }
}

/// `PATH` or `PATH:FLAGS`, as in `Subvolumes=` of repart.d(5).
fn subvolume(word: &str) -> Result<Subvolume<'_>, Error> {
    match word.split_once(':') {
        None => Ok(Subvolume { path: word, flags: SubvolumeFlags::default() }),
        Some((path, flags)) => match SubvolumeFlags::parse(flags).filter(|_| !flags.is_empty()) {
            Some(flags) => Ok(Subvolume { path, flags }),
            None => Err(Error::Flags(flags.to_owned())),
        },
    }
}
