//! What a failing, full or corrupting disk does to the spool.
