//! Randomness for secrets, from the operating system.

/// 256 random bits.
pub(crate) fn bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    // Without randomness no secret may be made, and a process whose system has none has nothing better to do.
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
