//! What is left of looks that do not end by themselves.

use super::*;
use crate::checkpoint::SavedCounts;
use crate::collector::tests::{checkpoint, collector, find, plan};
use portolan_model::{Depth, Event, Plan, Reason, Scope};
use portolan_net::connect::Source;

fn looks(plan: &Plan, held: u32) -> Looks {
    let control = Control::new(1);
    control.held.store(held, Ordering::Release);
    let scope: Scope = plan.scope.clone();
    let source = Source {
        address: None,
        port: None,
        interface: None,
    };
    Looks::new(
        Dialer::new(Arc::new(scope), source),
        Arc::new(control),
        4,
        1,
    )
}

#[tokio::test]
async fn a_look_that_fails_frees_its_place_and_says_so() {
    let plan = plan("192.0.2.1", "80");
    assert_eq!(plan.depth, Depth::Identify);
    let mut collector = collector(&plan);
    collector.take(0, vec![find(1, 80, Reason::SynAck)]);
    let endpoint = collector.next_look().unwrap().endpoint;
    let mut looks = looks(&plan, 1);
    looks.spawn(endpoint, Handed::Over, async {
        panic!("a fault for this test")
    });
    let looked = looks.next().await.unwrap();
    looks.end(looked, &mut collector);
    assert_eq!(looks.control.held.load(Ordering::Acquire), 0);
    assert!(looks.at_host.is_empty() && looks.under_way.is_empty() && looks.is_empty());
    assert_eq!(looks.lost(), 1);
    let told: Vec<Event> = std::iter::from_fn(|| collector.next_event()).collect();
    let Some(Event::Service { incomplete, .. }) = told.last() else {
        panic!("{told:?}")
    };
    assert!(incomplete[0].why.as_str().contains("fault of this program"));
}

#[tokio::test]
async fn a_look_that_is_given_up_is_held_again_by_the_resumed_run() {
    let plan = plan("192.0.2.1", "80");
    let mut collector = collector(&plan);
    collector.take(0, vec![find(1, 80, Reason::SynAck)]);
    let endpoint = collector.next_look().unwrap().endpoint;
    let mut looks = looks(&plan, 1);
    looks.spawn(endpoint, Handed::Over, std::future::pending());
    looks.give_up();
    let looked = looks.next().await.unwrap();
    looks.end(looked, &mut collector);
    assert_eq!(looks.control.held.load(Ordering::Acquire), 0);
    assert_eq!(looks.lost(), 0);
    let mut resumed = self::collector(&plan);
    resumed.resume(checkpoint(&collector, &plan, SavedCounts::default()));
    assert_eq!(resumed.next_look().unwrap().endpoint, endpoint);
}
