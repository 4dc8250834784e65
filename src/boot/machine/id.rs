//! The id that systemd will know this machine by (machine-id(5)), chosen before the first partition is made because the
//! partitions' UUIDs are derived from it, as systemd-repart(8) does with `--seed=`.

use super::credentials::Imported;
use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        random::random,
    },
    config::MachineId as Source,
    etc::machine_id::MachineId,
    info,
    sys::attribute,
    warning,
};

/// Hypervisors whose product UUID is the machine's own (systemd: src/libsystemd/sd-id128/id128-util.c,
/// src/shared/machine-id-setup.c).
const VIRTUAL: [&str; 6] = ["QEMU", "KVM", "Amazon EC2", "VMware", "Xen", "Google"];

/// The credential with an id (systemd.system-credentials(7)).
const CREDENTIAL: &str = "system.machine_id";

/// Chooses in systemd's order: the command line, a credential, the firmware of a virtual machine, random.
///
/// # Errors
/// The kernel gives no random bytes.
pub fn choose(source: Option<&Source>, credentials: &Imported) -> Result<MachineId, Failure> {
    let (id, origin) = match source {
        Some(Source::Id(id)) => (MachineId::from_bytes(id.into_bytes()), "systemd.machine_id="),
        Some(Source::Firmware) => (product_uuid(), "firmware"),
        None => match credential(credentials) {
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
        None => by_chance(),
    }
}

/// The id of the credential. One that is not valid is named and passed over, as systemd does.
fn credential(credentials: &Imported) -> Option<MachineId> {
    let text = core::str::from_utf8(credentials.all().get(CREDENTIAL)?.expose());
    let id = text.ok().and_then(|text| MachineId::parse(text.trim_end()));
    if id.is_none() {
        warning!(
            "the credential {CREDENTIAL} is not a machine id (32 hexadecimal digits, not all 0); it is ignored"
        );
    }
    id
}

fn by_chance() -> Result<MachineId, Failure> {
    let mut bytes = [0; 16];
    random(&mut bytes).or_fail(|| "cannot choose a machine id: the kernel gives no random bytes".into())?;
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

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;
    use crate::{config::credentials::Credentials, secret::Secret};

    #[test]
    fn credentials_are_read_once_and_only_when_asked_for() {
        let reads = Rc::new(Cell::new(0));
        let count = Rc::clone(&reads);
        let import = move || {
            count.set(count.get() + 1);
            let mut credentials = Credentials::new();
            credentials.add(CREDENTIAL, Secret::new(vec![b'a'; 32]));
            credentials
        };
        let imported = Imported::by(true, Box::new(import));
        assert_eq!(reads.get(), 0);
        for _ in 0..2 {
            let id = choose(None, &imported).map_err(|failure| failure.reason).unwrap();
            assert_eq!(id.line(), "a".repeat(32) + "\n");
        }
        assert_eq!(imported.all().names().collect::<Vec<_>>(), [CREDENTIAL]);
        assert_eq!(reads.get(), 1);
    }
}
