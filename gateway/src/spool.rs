//! Stable storage: an append-only log of segments with group commit, and files for large content.
//!
//! Not here: what is attempted when. The invariant: whoever was told "stored" finds it again after SIGKILL and after
//! power loss.
