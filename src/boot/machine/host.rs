//! The host of a virtual machine. A guest whose memory is encrypted against its host is called confidential, and the host's
//! word counts for nothing there: neither SMBIOS nor fw_cfg.
//!
//! The kernel's flags in /proc/cpuinfo do not tell: it clears `sev` in a guest, which may not write the register that a host
//! enables it with (Linux: arch/x86/kernel/cpu/amd.c, `early_detect_mem_encrypt`). CPUID does, and errs to the safe side:
//! the bit that says "in a virtual machine" is the host's own word, so a bare AMD machine that could be such a host counts as
//! a guest, unless the kernel's msr driver is there and reads that its memory is not encrypted.

/// The answer of CPUID to a leaf, at sub-leaf 0: EAX, EBX, ECX, EDX.
#[cfg(any(target_arch = "x86_64", test))]
type Leaf<'a> = &'a dyn Fn(u32) -> [u32; 4];

/// True when the memory of this machine is, or may be, encrypted against its host.
#[cfg(target_arch = "x86_64")]
pub fn is_distrusted() -> bool {
    is_confidential(&crate::sys::cpuid::leaf, &sev_status)
}

/// True when the memory of this machine is encrypted against its host.
#[cfg(not(target_arch = "x86_64"))]
pub fn is_distrusted() -> bool {
    has_sign(std::path::Path::new("/sys"))
}

/// SEV, TDX, or a guest of Hyper-V that is isolated from it, which may hide the first two (Linux:
/// arch/x86/kernel/cpu/mshyperv.c).
#[cfg(any(target_arch = "x86_64", test))]
fn is_confidential(leaf: Leaf<'_>, sev_status: &dyn Fn() -> Option<u64>) -> bool {
    // AMD APM volume 3, appendix E.4: the greatest leaf, and EAX of Fn8000_001F with "SEV" in bit 1.
    let [greatest, ..] = leaf(0x8000_0000);
    let [features, ..] = if greatest >= 0x8000_001f { leaf(0x8000_001f) } else { [0; 4] };
    // APM volume 2, section 15.34.10: SEV, SEV-ES and SEV-SNP are active in the bits 0, 1 and 2.
    if features & 2 != 0 && sev_status().is_none_or(|status| status & 7 != 0) {
        return true;
    }
    // Intel TDX module specification, "CPUID leaf 0x21": the signature, in the order EBX, EDX, ECX.
    let [_, one, three, two] = leaf(0x21);
    if [one, two, three].map(u32::to_le_bytes) == [*b"Inte", *b"lTDX", *b"    "] {
        return true;
    }
    // Hypervisor top level functional specification, "Hypervisor CPUID leaves": the isolation of leaf 0x4000000C is in the bits
    // 0 to 3 of EBX.
    let [greatest, one, two, three] = leaf(0x4000_0000);
    let is_hyper_v = [one, two, three].map(u32::to_le_bytes) == [*b"Micr", *b"osof", *b"t Hv"];
    let [_, isolation, ..] = leaf(0x4000_000c);
    is_hyper_v && greatest >= 0x4000_000c && isolation & 0xf != 0
}

/// The register SEV_STATUS (MSR C001_0131); None without the kernel's msr driver.
#[cfg(target_arch = "x86_64")]
fn sev_status() -> Option<u64> {
    use std::os::unix::fs::FileExt as _;
    let mut value = [0; 8];
    let driver = std::fs::File::open("/dev/cpu/0/msr").ok()?;
    driver.read_exact_at(&mut value, 0xc001_0131).ok()?;
    Some(u64::from_le_bytes(value))
}

/// The signs of a realm of arm64, and of a protected guest of s390x, below /sys.
///
/// The kernel makes the platform device in a realm alone (Linux: arch/arm64/kernel/rsi.c); versions to come call it
/// otherwise. Of the ultravisor's file the digit counts (Linux: Documentation/ABI/testing/sysfs-firmware-uv).
#[cfg(any(not(target_arch = "x86_64"), test))]
fn has_sign(sys: &std::path::Path) -> bool {
    ["devices/platform/arm-cca-dev", "devices/platform/arm-rsi-dev", "firmware/cca/realm_guest"]
        .iter()
        .any(|sign| sys.join(sign).exists())
        || crate::sys::attribute(sys.join("firmware/uv/prot_virt_guest")).is_some_and(|digit| digit != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine as it was recorded: leaves with EAX, EBX, ECX and EDX, and SEV_STATUS where a driver reads it.
    type Record = (&'static str, bool, &'static [(u32, [u32; 4])], Option<u64>);

    /// The greatest extended leaf of an EPYC 7003, and of a Xeon.
    const AMD: (u32, [u32; 4]) = (0x8000_0000, [0x8000_0023, 0x6874_7541, 0x444d_4163, 0x6974_6e65]);
    const INTEL: (u32, [u32; 4]) = (0x8000_0000, [0x8000_0008, 0, 0, 0]);
    /// Fn8000_001F of an EPYC 7002 and of an EPYC 7003, by `cpuid -1 -r -l 0x8000001f` on the bare machines.
    const ROME: (u32, [u32; 4]) = (0x8000_001f, [0x0001_000f, 0x0000_016f, 0x0000_01fd, 0x0000_0001]);
    const MILAN: (u32, [u32; 4]) = (0x8000_001f, [0x0101_fd3f, 0x0000_4173, 0x0000_01fd, 0x0000_0080]);
    /// The same leaf of a SEV and of a SEV-SNP guest, as QEMU makes it (target/i386/cpu.c).
    const SEV: (u32, [u32; 4]) = (0x8000_001f, [0x0000_0002, 0x0000_0073, 0, 0]);
    const SNP: (u32, [u32; 4]) = (0x8000_001f, [0x0000_001a, 0x0000_0073, 0, 0]);
    /// Processor features: the bit "in a virtual machine" is bit 31 of ECX.
    const GUEST: (u32, [u32; 4]) = (1, [0x000c_06f2, 0x0102_0800, 0xfffa_3203, 0x1f8b_fbff]);
    const HIDDEN: (u32, [u32; 4]) = (1, [0x000c_06f2, 0x0102_0800, 0x7ffa_3203, 0x1f8b_fbff]);
    /// The leaf by the TDX module's specification.
    const TDX: (u32, [u32; 4]) = (0x21, [0, 0x6574_6e49, 0x2020_2020, 0x5844_546c]);
    /// Hypervisors by their first leaf: KVM, Hyper-V, and KVM that shows itself to Windows as Hyper-V.
    const KVM: (u32, [u32; 4]) = (0x4000_0000, [0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x0000_004d]);
    const HYPER_V: (u32, [u32; 4]) = (0x4000_0000, [0x4000_000c, 0x7263_694d, 0x666f_736f, 0x7648_2074]);
    const ENLIGHTENED: (u32, [u32; 4]) = (0x4000_0000, [0x4000_000a, 0x7263_694d, 0x666f_736f, 0x7648_2074]);
    /// "Hyper-V: Isolation Config: Group A, Group B", as kernels of Azure's confidential machines print the leaf.
    const AZURE_SNP: (u32, [u32; 4]) = (0x4000_000c, [1, 0xba2, 0, 0]);
    const AZURE_TDX: (u32, [u32; 4]) = (0x4000_000c, [1, 0xbe3, 0, 0]);
    const VBS: (u32, [u32; 4]) = (0x4000_000c, [1, 0xba1, 0, 0]);
    const SHARED: (u32, [u32; 4]) = (0x4000_000c, [1, 0xba0, 0, 0]);

    const RECORDS: &[Record] = &[
        ("a guest of KVM on Intel", false, &[INTEL, GUEST, KVM], None),
        ("a guest of KVM on AMD", false, &[AMD, GUEST, KVM], None),
        ("a bare Intel machine", false, &[INTEL, HIDDEN], None),
        ("SEV", true, &[AMD, GUEST, KVM, SEV], None),
        ("SEV, and the msr driver", true, &[AMD, GUEST, KVM, SEV], Some(1)),
        ("SEV-ES, and the msr driver", true, &[AMD, GUEST, KVM, SEV], Some(3)),
        ("SEV-SNP", true, &[AMD, GUEST, KVM, SNP], None),
        ("SEV, whose host says that there is none", true, &[AMD, HIDDEN, SEV], None),
        ("a guest that is shown its host's leaf", true, &[AMD, GUEST, KVM, MILAN], None),
        ("the same with the msr driver", false, &[AMD, GUEST, KVM, MILAN], Some(0)),
        ("a bare EPYC 7003", true, &[AMD, HIDDEN, MILAN], None),
        ("a bare EPYC 7002", true, &[AMD, HIDDEN, ROME], None),
        ("the same with the msr driver", false, &[AMD, HIDDEN, ROME], Some(0)),
        ("a leaf behind the greatest", false, &[INTEL, GUEST, KVM, SEV], None),
        ("TDX", true, &[INTEL, GUEST, KVM, TDX], None),
        ("TDX, whose host says that there is none", true, &[INTEL, HIDDEN, TDX], None),
        ("SEV-SNP below Hyper-V", true, &[AMD, GUEST, HYPER_V, AZURE_SNP], None),
        ("TDX below Hyper-V", true, &[INTEL, GUEST, HYPER_V, AZURE_TDX], None),
        ("isolated by Hyper-V alone", true, &[INTEL, GUEST, HYPER_V, VBS], None),
        ("not isolated by Hyper-V", false, &[INTEL, GUEST, HYPER_V, SHARED], None),
        ("KVM for Windows", false, &[INTEL, GUEST, ENLIGHTENED, AZURE_SNP], None),
    ];

    #[test]
    fn a_guest_that_may_be_confidential_trusts_no_host() {
        for (name, expected, leaves, status) in RECORDS {
            let leaf = |number| leaves.iter().find(|row| row.0 == number).map_or([0; 4], |row| row.1);
            assert_eq!(is_confidential(&leaf, &|| *status), *expected, "{name}");
        }
    }

    #[test]
    fn other_architectures_have_a_sign_in_sysfs() {
        let sys = std::env::temp_dir().join(format!("hermetic-host-{}", std::process::id()));
        for (sign, text, expected) in [
            ("devices/platform/serial8250", None, false),
            ("devices/platform/arm-cca-dev", None, true),
            ("devices/platform/arm-rsi-dev", None, true),
            ("firmware/uv/prot_virt_guest", Some("0\n"), false),
            ("firmware/uv/prot_virt_guest", Some("1\n"), true),
        ] {
            let path = sys.join(sign);
            std::fs::create_dir_all(if text.is_some() { path.parent().unwrap() } else { &path }).unwrap();
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            assert_eq!(has_sign(&sys), expected, "{sign}");
            std::fs::remove_dir_all(&sys).unwrap();
        }
    }
}
