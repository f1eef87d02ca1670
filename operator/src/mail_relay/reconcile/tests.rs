//! What is decided in a look itself.

use super::*;

#[test]
fn keys_that_cannot_be_read_are_not_a_missing_fence() {
    let fence = InstallationError::Write(SecretError::Fence);
    assert_eq!(keys_missing(&fence), ApplyOutcome::FenceMissing);
    let malformed = InstallationError::Malformed {
        key: "ca.key",
        problem: "is missing".to_owned(),
    };
    let ApplyOutcome::Failed { message } = keys_missing(&malformed) else {
        panic!("not told as what it is");
    };
    let expected = "the installation's keys cannot be read: key \"ca.key\" of Secret";
    assert!(message.starts_with(expected), "{message}");
}
