//! `portolan local`: the sockets that this test opened, with the process that holds them.

use crate::listeners::{Listeners, closed, own_address};
use crate::program::portolan;

#[test]
fn a_listening_socket_is_shown_with_its_process() {
    let address = own_address();
    let port = Listeners::open(address, 1);
    let number = port.ports()[0];
    let ended = portolan(&format!("local {number}")).expect_code(0);
    let pid = std::process::id().to_string();
    for word in [&number.to_string(), &pid, &address.to_string()] {
        assert!(ended.stdout.contains(word), "{word}: {}", ended.stdout);
    }
}

#[test]
fn a_taken_port_says_what_a_second_server_would_get() {
    let port = Listeners::open(own_address(), 1);
    let ended = portolan(&format!("local {}", port.ports()[0])).expect_code(0);
    let text = ended.stdout.to_lowercase();
    assert!(text.contains("address already in use"), "{text}");
}

#[test]
fn a_free_port_is_said_to_be_free() {
    let port = closed(own_address(), 1)[0];
    let ended = portolan(&format!("local {port}")).expect_code(0);
    assert!(ended.stdout.contains(&port.to_string()), "{}", ended.stdout);
    assert!(
        !ended.stdout.to_lowercase().contains("already in use"),
        "{}",
        ended.stdout
    );
}

#[test]
fn all_sockets_are_listed() {
    let listeners = Listeners::open(own_address(), 3);
    let ended = portolan("local").expect_code(0);
    for port in listeners.ports() {
        assert!(
            ended.stdout.contains(&port.to_string()),
            "{port}: {}",
            ended.stdout
        );
    }
}
