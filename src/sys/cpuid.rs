//! The processor's word about itself (CPUID), or that of a hypervisor in its place.

/// The registers EAX, EBX, ECX and EDX of a leaf, at sub-leaf 0 (Intel SDM volume 2A, AMD APM volume 3, "CPUID").
pub fn leaf(leaf: u32) -> [u32; 4] {
    // SAFETY: every processor of this architecture has the instruction, and it touches nothing but these registers.
    #[allow(unused_unsafe, reason = "safe to call since Rust 1.94")]
    let found = unsafe { core::arch::x86_64::__cpuid_count(leaf, 0) };
    [found.eax, found.ebx, found.ecx, found.edx]
}
