//! musl's name for a thread, as an empty shell. std names its threads, and no thread of ours has a name; musl writes that of
//! another thread to a path that it makes with `snprintf`, which comes with all formats of floating point, 8 kB.
//!
//! Reference: pthread_setname_np(3).

use core::ffi::{c_char, c_int};

// SAFETY: no other definition of the symbol is linked, because libc's archive is searched only for what is still missing;
// the signature is libc's, and `pthread_t` is a machine word.
#[unsafe(no_mangle)]
extern "C" fn pthread_setname_np(_thread: usize, _name: *const c_char) -> c_int {
    0
}
