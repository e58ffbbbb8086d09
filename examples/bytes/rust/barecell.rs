//! What a module needs so that the host can pass bytes to its functions and get bytes back (docs/guest-convention.md). For every function
//! that the host may call, in the crate's root:
//!
//! ```
//! mod barecell;
//! barecell::export!(shout, |input: &[u8]| input.to_ascii_uppercase());
//! ```

use std::alloc::{alloc, dealloc, Layout};
use std::ptr;

/// No allocation is larger than half the address space (`isize::MAX`).
fn layout(length: usize) -> Option<Layout> {
    Layout::from_size_align(length, 1).ok()
}

/// Null if there is no memory. Nothing is kept for no bytes, but that is no failure.
#[no_mangle]
pub extern "C" fn barecell_alloc(length: usize) -> *mut u8 {
    match layout(length) {
        Some(_) if length == 0 => ptr::NonNull::dangling().as_ptr(),
        Some(layout) => unsafe { alloc(layout) },
        None => ptr::null_mut(),
    }
}

/// # Safety
/// What `barecell_alloc` gave for this length, or a result, and not freed yet.
#[no_mangle]
pub unsafe extern "C" fn barecell_free(bytes: *mut u8, length: usize) {
    match layout(length) {
        Some(layout) if length > 0 && !bytes.is_null() => dealloc(bytes, layout),
        _ => {}
    }
}

/// Gives the host bytes, which it frees: address in the high half, count in the low one.
pub fn give(bytes: Vec<u8>) -> u64 {
    // Without spare room, so that the length is all that is needed to free it.
    let bytes = Box::leak(bytes.into_boxed_slice());
    if bytes.is_empty() {
        return 0;
    }
    (bytes.as_ptr() as u64) << 32 | bytes.len() as u64
}

/// The host's bytes, which stay the host's and are there until the call returns.
///
/// # Safety
/// The pointer and length that the host passed.
pub unsafe fn take<'a>(input: *const u8, length: usize) -> &'a [u8] {
    if length == 0 { &[] } else { std::slice::from_raw_parts(input, length) }
}

/// Exports a function from bytes to bytes under a name.
#[macro_export]
macro_rules! export {
    ($name:ident, $function:expr) => {
        #[no_mangle]
        pub unsafe extern "C" fn $name(input: *const u8, length: usize) -> u64 {
            let function: fn(&[u8]) -> Vec<u8> = $function;
            $crate::barecell::give(function($crate::barecell::take(input, length)))
        }
    };
}
pub use export;
