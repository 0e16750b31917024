//! The loop of a run, over words that no sweep said.

use super::*;
use crate::collector::tests::{collector, find, plan, run_of};
use portolan_model::Reason;

fn state(ports: &str, events: mpsc::Sender<Event>) -> State {
    let plan = plan("192.0.2.1", ports);
    let orders = Orders::of(&plan).unwrap();
    let control = Arc::new(Control::new(1));
    let source = Source {
        address: None,
        port: None,
        interface: None,
    };
    let dialer = Dialer::new(Arc::new(plan.scope.clone()), source);
    State {
        collector: collector(&plan),
        looks: Looks::new(dialer, Arc::clone(&control), 0, 1),
        control,
        meter: Meter::new(orders, SavedCounts::default()),
        run: run_of(&plan),
        started: Instant::now(),
        deadline: None,
        expires_unix_s: None,
        looks_until: None,
        stop: None,
        workers: 1,
        workers_left: 1,
        workers_in_window: 1,
        checkpoint: None,
        events,
    }
}

fn finds(ports: std::ops::RangeInclusive<u16>, reason: Reason) -> Word {
    Word::Finds {
        window: 0,
        finds: ports.map(|port| find(1, port, reason)).collect(),
    }
}

/// Runs `words` to the end, with a reader that takes everything.
async fn ended(mut state: State, words: Vec<Word>) -> Finished {
    let (say, hear) = mpsc::channel(64);
    let (events, mut told) = mpsc::channel(64);
    state.events = events;
    let reader = tokio::spawn(async move { while told.recv().await.is_some() {} });
    for word in words {
        assert!(say.send(word).await.is_ok());
    }
    drop(say);
    let (_user, interrupt) = watch::channel(false);
    let finished = state.hold(hear, interrupt).await.unwrap();
    reader.await.unwrap();
    finished
}

async fn check_complete(reason: Reason, expected: Ended) {
    let state = state("1-2", mpsc::channel(1).0);
    let words = vec![
        finds(1..=1, Reason::Rst),
        finds(2..=2, reason),
        Word::WindowEnded,
        Word::Stopped(Ok(())),
    ];
    let finished = ended(state, words).await;
    assert_eq!(finished.ended, expected, "{reason}");
    let run = &finished.document.run;
    assert_eq!(run.complete, expected == Ended::Complete, "{reason}");
    assert_eq!(run.notices.is_empty(), run.complete, "{reason}");
}

#[tokio::test]
async fn untested_ports_of_a_host_that_answered_make_a_run_partial() {
    check_complete(Reason::LocalLimit, Ended::Partial).await;
    check_complete(Reason::LocalPolicy, Ended::Partial).await;
    check_complete(Reason::NoRoute, Ended::Partial).await;
}

#[tokio::test]
async fn what_the_network_says_leaves_a_run_complete() {
    check_complete(Reason::NoNeighbour, Ended::Complete).await;
    check_complete(Reason::Rst, Ended::Complete).await;
    check_complete(Reason::Timeout { probes: 2 }, Ended::Complete).await;
}

/// A run whose reader takes nothing; `act` comes when the run hears no more. Answers how it ended
/// once the reader reads again.
async fn stalled(state: State, mut events: mpsc::Receiver<Event>) -> Finished {
    let (say, hear) = mpsc::channel(1);
    let (asked, interrupt) = watch::channel(false);
    let held = tokio::spawn(state.hold(hear, interrupt));
    // More open ports than events may wait, so that the run stops hearing; then the channel fills.
    let mut port = 0_u16;
    while let Ok(room) = say.try_reserve() {
        room.send(finds(port * 600 + 1..=port * 600 + 600, Reason::SynAck));
        port += 1;
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
    assert!((4..20).contains(&port), "{port} words were heard");
    asked.send(true).unwrap();
    // A sweep that drains says so behind what it had to say.
    assert!(say.send(Word::Stopped(Ok(()))).await.is_ok());
    drop(say);
    // Only now the reader comes back.
    while events.recv().await.is_some() {}
    held.await.unwrap().unwrap()
}

#[tokio::test]
async fn a_reader_that_stalls_does_not_keep_an_interrupt_from_ending_the_run() {
    let (events, told) = mpsc::channel(1);
    let finished = stalled(state("1-65535", events), told).await;
    assert_eq!(finished.ended, Ended::Interrupted);
}

#[tokio::test]
async fn a_reader_that_stalls_does_not_keep_a_deadline_from_ending_the_run() {
    let (events, told) = mpsc::channel(1);
    let mut state = state("1-65535", events);
    state.expires_unix_s = Some(0);
    let finished = stalled_deadline(state, told).await;
    assert_eq!(finished.ended, Ended::Partial);
    let notice = finished.document.run.notices[0].as_str();
    assert!(notice.starts_with("the scope expired at 1970"), "{notice}");
    assert!(finished.document.run.notices.len() == 1);
}

/// The first look at the clock comes before anything is told.
async fn stalled_deadline(state: State, mut told: mpsc::Receiver<Event>) -> Finished {
    let (say, hear) = mpsc::channel(1);
    let (_asked, interrupt) = watch::channel(false);
    let control = Arc::clone(&state.control);
    let held = tokio::spawn(state.hold(hear, interrupt));
    while !control.drain.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    assert!(say.send(Word::Stopped(Ok(()))).await.is_ok());
    while told.recv().await.is_some() {}
    held.await.unwrap().unwrap()
}

#[tokio::test]
async fn what_is_left_is_counted_from_what_is_decided() {
    let mut state = state("1-100", mpsc::channel(1).0);
    // As if an earlier part had decided sixty; no engine of this part has passed over any.
    state.hear(Some(finds(1..=60, Reason::Rst)));
    state.stop(Stop::Interrupted);
    let finished = ended(state, vec![Word::Stopped(Ok(()))]).await;
    let notices = &finished.document.run.notices;
    assert_eq!(
        notices[0].as_str(),
        "the scan was interrupted; 40 ports were not tested"
    );
    assert_eq!(notices.len(), 1);
}
