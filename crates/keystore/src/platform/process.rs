//! This process, told from what is forked off it.

/// The process that made this. Asking costs no system call on Linux, so that it can be asked before every act.
///
/// A process that shares its memory with its parent (`vfork`, until it runs another program) counts as its parent.
#[derive(Debug)]
pub struct ThisProcess {
    id: u32,
    #[cfg(target_os = "linux")]
    mark: Option<mark::Mark>,
}

impl ThisProcess {
    /// The process that calls.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "which process it is depends on who calls when")]
    pub fn new() -> Self {
        Self {
            id: std::process::id(),
            #[cfg(target_os = "linux")]
            mark: mark::Mark::new(),
        }
    }

    /// Whether the process that calls is that one.
    #[must_use]
    pub fn is_current(&self) -> bool {
        #[cfg(target_os = "linux")]
        if let Some(mark) = &self.mark {
            return mark.stands();
        }
        std::process::id() == self.id
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "there is no safe way to memory that a fork does not inherit")]
mod mark {
    use std::ptr::{NonNull, null_mut};
    use std::sync::atomic::{AtomicBool, Ordering};

    const SIZE: libc::size_t = size_of::<AtomicBool>();

    /// A page of its own, which the system hands to a forked process empty.
    #[derive(Debug)]
    pub(super) struct Mark(NonNull<AtomicBool>);

    // SAFETY: nobody else has the page, and what stands in it is atomic.
    unsafe impl Send for Mark {}
    // SAFETY: as above.
    unsafe impl Sync for Mark {}

    impl Mark {
        /// `None` where the system has no such memory (before Linux 4.14).
        pub(super) fn new() -> Option<Self> {
            let (rights, kind) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: asks for new memory, wherever the system likes.
            let page = unsafe { libc::mmap(null_mut(), SIZE, rights, kind, -1, 0) };
            if page == libc::MAP_FAILED {
                return None;
            }
            let mark = Self(NonNull::new(page)?.cast());
            // SAFETY: the page is ours, and is empty still.
            let advised = |advice| unsafe { libc::madvise(page, SIZE, advice) } == 0;
            // QEMU's user mode once took every advice and followed none: who takes this one is not believed.
            if advised(-1) || !advised(libc::MADV_WIPEONFORK) {
                return None;
            }
            mark.flag().store(true, Ordering::Relaxed);
            Some(mark)
        }

        pub(super) fn stands(&self) -> bool {
            self.flag().load(Ordering::Relaxed)
        }

        fn flag(&self) -> &AtomicBool {
            // SAFETY: mapped as long as this lives and aligned to a page; a byte of zero is `false`.
            unsafe { self.0.as_ref() }
        }
    }

    impl Drop for Mark {
        fn drop(&mut self) {
            // SAFETY: the page is ours, and nothing refers into it any more.
            unsafe { libc::munmap(self.0.as_ptr().cast(), SIZE) };
        }
    }
}

#[cfg(all(test, feature = "test-util", unix))]
mod tests {
    use super::ThisProcess;
    use crate::in_a_fork;

    #[test]
    fn a_fork_is_another_process_and_so_is_its_own() {
        let parent = ThisProcess::new();
        let child = || {
            let child = ThisProcess::new();
            let grandchild = || u8::from(parent.is_current() || child.is_current());
            let apart =
                !parent.is_current() && child.is_current() && in_a_fork(grandchild).ok() == Some(Some(0));
            u8::from(!(apart && child.is_current()))
        };
        assert_eq!(in_a_fork(child).unwrap(), Some(0));
        assert!(parent.is_current());
    }

    #[test]
    fn where_a_fork_inherits_all_memory_the_processs_number_tells() {
        let parent = ThisProcess {
            id: std::process::id(),
            #[cfg(target_os = "linux")]
            mark: None,
        };
        assert!(parent.is_current());
        assert_eq!(in_a_fork(|| u8::from(parent.is_current())).unwrap(), Some(0));
    }
}
