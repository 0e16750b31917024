//! Holds the conversation of a first look over a real connection, inside its limits.

use portolan_identify::{
    CONNECT_WAIT, CONNECTION_READ_MAX, CONNECTIONS_MAX, CONVERSATION_MAX, Input, Look, LookOptions,
    Outcome, Step,
};
use portolan_model::Endpoint;
use portolan_net::dial::{Connection, DialError, Dialer, Received};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Looks at `endpoint`, over `connection` first where one stands open already. Ends within
/// [`CONVERSATION_MAX`], and then tells what is known so far.
pub(crate) async fn look(
    dialer: Dialer,
    endpoint: Endpoint,
    connection: Option<OwnedFd>,
    options: LookOptions,
) -> Outcome {
    let mut look = Look::new(options);
    let talk = converse(&mut look, &dialer, endpoint, connection);
    // What was heard before the time was over counts.
    let _ = tokio::time::timeout(CONVERSATION_MAX, talk).await;
    look.finish()
}

async fn converse(look: &mut Look, dialer: &Dialer, endpoint: Endpoint, first: Option<OwnedFd>) {
    let mut first = first.and_then(|descriptor| dialer.adopt(descriptor, endpoint).ok());
    for _ in 0..CONNECTIONS_MAX {
        let dialled = match first.take() {
            Some(connection) => Ok(connection),
            None => dialer.connect(endpoint, CONNECT_WAIT).await,
        };
        let again = match dialled {
            Ok(connection) => {
                let step = look.step(Input::Connected);
                talk(look, connection, step).await
            }
            Err(_) => look.step(Input::ConnectFailed),
        };
        if !matches!(again, Step::Reconnect) {
            return;
        }
    }
}

/// One connection, to the step that ends it.
async fn talk(look: &mut Look, mut connection: Connection, mut step: Step) -> Step {
    let mut buffer = [0_u8; CONNECTION_READ_MAX];
    let mut room = CONNECTION_READ_MAX;
    loop {
        let wait = match step {
            Step::Done | Step::Reconnect => return step,
            Step::Wait(wait) => wait,
            Step::Send { bytes, then_wait } => match connection.send(&bytes, then_wait).await {
                Ok(()) => then_wait,
                // A peer that does not take what is sent may still have said something.
                Err(DialError::Broken { .. } | DialError::TimedOut { .. }) => Duration::ZERO,
                Err(_) => return Step::Done,
            },
        };
        step = if room == 0 {
            look.step(Input::Closed)
        } else {
            let Some(space) = buffer.get_mut(..room) else {
                return Step::Done;
            };
            match connection.receive(space, wait).await {
                Received::Bytes(length) => {
                    room = room.saturating_sub(length);
                    let bytes = space.get(..length).unwrap_or_default();
                    look.step(Input::Bytes(bytes))
                }
                Received::Closed => look.step(Input::Closed),
                Received::Reset => look.step(Input::Reset),
                Received::TimedOut => look.step(Input::TimedOut),
            }
        };
    }
}
