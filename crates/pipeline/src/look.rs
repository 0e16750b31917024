//! Holds the conversation of a first look over a real connection, inside its limits.

use portolan_identify::{
    CONNECT_WAIT, CONNECTION_READ_MAX, CONNECTIONS_MAX, CONVERSATION_MAX, HANDSHAKE_WAIT, Input,
    Look, LookOptions, Outcome, Said, Secured, Step,
};
use portolan_model::{Endpoint, Text};
use portolan_net::dial::{Connection, DialError, Dialer, Received, Turn};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Looks at `endpoint`, over `connection` first where one stands open already. Ends within
/// [`CONVERSATION_MAX`], not counting the time it waits for its turn to connect, and then tells
/// what is known so far, with the replies that show it where the options ask for them.
pub(crate) async fn look(
    dialer: Dialer,
    endpoint: Endpoint,
    connection: Option<OwnedFd>,
    options: LookOptions,
) -> (Outcome, Vec<Said>) {
    let mut look = Look::new(options);
    let mut open = connection.and_then(|descriptor| dialer.adopt(descriptor, endpoint).ok());
    let mut left = CONVERSATION_MAX;
    for _ in 0..CONNECTIONS_MAX {
        let start = match open.take() {
            Some(connection) => Start::Open(connection),
            None => match dialer.turn(endpoint).await {
                Ok(turn) => Start::Dial(turn),
                Err(_) => break,
            },
        };
        let began = Instant::now();
        // What was heard before the time was over counts.
        let talked = tokio::time::timeout(left, converse(&mut look, &dialer, start)).await;
        left = left.saturating_sub(began.elapsed());
        if !matches!(talked, Ok(Step::Reconnect)) {
            break;
        }
    }
    look.finish_with_replies()
}

/// How one connection of a look begins.
enum Start {
    Dial(Turn),
    Open(Connection),
}

async fn converse(look: &mut Look, dialer: &Dialer, start: Start) -> Step {
    let connection = match start {
        Start::Open(connection) => connection,
        Start::Dial(turn) => match dialer.connect(turn, CONNECT_WAIT).await {
            Ok(connection) => connection,
            Err(_) => return look.step(Input::ConnectFailed),
        },
    };
    let step = look.step(Input::Connected);
    talk(look, connection, step).await
}

/// One connection, to the step that ends it.
async fn talk(look: &mut Look, mut connection: Connection, mut step: Step) -> Step {
    let mut buffer = vec![0_u8; CONNECTION_READ_MAX];
    let mut room = CONNECTION_READ_MAX;
    loop {
        let wait = match step {
            Step::Done | Step::Reconnect => return step,
            Step::Secure { server_name } => {
                let name = server_name.as_deref();
                match connection.secure(name, HANDSHAKE_WAIT).await {
                    Ok((secure, shown)) => {
                        connection = secure;
                        step = look.step(Input::Secured(Secured {
                            version: shown.version,
                            certificate: shown.certificate,
                        }));
                        continue;
                    }
                    Err(error) => {
                        // The connection went with the handshake: nothing else can be done on it.
                        return look.step(Input::SecureFailed(reason(&error)));
                    }
                }
            }
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

/// Why a handshake failed, without the endpoint, which stands beside it.
fn reason(error: &DialError) -> Text {
    match error {
        DialError::Broken { source, .. } => Text::from(source.to_string()),
        DialError::TimedOut { .. } => Text::from("no answer in time"),
        error => Text::from(error.to_string()),
    }
}
