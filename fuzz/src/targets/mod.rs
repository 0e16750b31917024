//! What must hold for all bytes, by what is tested.

pub(crate) mod checkpoint;
pub(crate) mod frame;
pub(crate) mod input;
pub(crate) mod look;
pub(crate) mod receive;
pub(crate) mod recog;
pub(crate) mod udp;
pub(crate) mod values;

/// A message for people is one printable line, whatever it quotes.
fn assert_printable(message: &str) {
    assert!(!message.is_empty(), "a message says something");
    assert!(
        !message.chars().any(char::is_control),
        "a message holds no control character: {message:?}"
    );
}
