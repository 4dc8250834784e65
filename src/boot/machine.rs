//! Which machine this is: the id that systemd will know it by, chosen before the first partition is made because the
//! partitions' UUIDs are derived from it (contract §4.4, §7.2).

use std::io;

use super::credentials;
use crate::{config::MachineId as Wish, etc::machine_id::MachineId, info, sys::attribute, warning};

/// Hypervisors whose product UUID is the machine's own (systemd: src/libsystemd/sd-id128/id128-util.c,
/// src/shared/machine-id-setup.c).
const VIRTUAL: [&str; 6] = ["QEMU", "KVM", "Amazon EC2", "VMware", "Xen", "Google"];

/// The credential with an id (systemd.system-credentials(7)).
const CREDENTIAL: &str = "system.machine_id";

/// Chooses in systemd's order: the command line, a credential, the firmware of a virtual machine, random.
///
/// # Errors
/// The kernel gives no random bytes.
pub fn choose(wish: Option<&Wish>) -> io::Result<MachineId> {
    let (id, origin) = match wish {
        Some(Wish::Id(id)) => (MachineId::from_bytes(id.into_bytes()), "systemd.machine_id="),
        Some(Wish::Firmware) => (product_uuid(), "firmware"),
        None => match credential() {
            Some(id) => (Some(id), "the credential system.machine_id"),
            None if is_virtual() => (product_uuid(), "the hypervisor's product UUID"),
            None => (None, ""),
        },
    };
    match id {
        Some(id) => {
            info!("machine id from {origin}");
            Ok(id)
        }
        None => random(),
    }
}

/// What is no id is named and passed over, as systemd does.
fn credential() -> Option<MachineId> {
    let credentials = credentials::import();
    let text = core::str::from_utf8(credentials.get(CREDENTIAL)?.expose()).ok()?;
    let id = MachineId::parse(text.trim_end());
    if id.is_none() {
        warning!(
            "the credential {CREDENTIAL} is no machine id (32 hexadecimal digits, not all 0); it is ignored"
        );
    }
    id
}

fn random() -> io::Result<MachineId> {
    let mut bytes = [0; 16];
    super::random(&mut bytes)?;
    Ok(MachineId::from_random(bytes))
}

fn is_virtual() -> bool {
    ["sys_vendor", "product_name", "board_vendor"]
        .iter()
        .filter_map(|name| attribute(format!("/sys/class/dmi/id/{name}")))
        .any(|text| VIRTUAL.iter().any(|vendor| text.starts_with(vendor)))
}

fn product_uuid() -> Option<MachineId> {
    attribute("/sys/class/dmi/id/product_uuid").as_deref().and_then(MachineId::from_dmi)
}
