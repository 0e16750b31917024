//! Every fuzz target over its committed seeds, then over a fixed number of mutated inputs from a
//! fixed seed: the same executions on every machine.

use portolan_fuzz::{Mutator, TARGETS, named, read_seeds, write_crash};
use std::panic;

/// Mutated inputs for each target.
const EXECUTIONS: usize = 20_000;
/// Seed of the mutations.
const SEED: u64 = 1;

fn check(name: &str) -> Result<(), String> {
    let target = named(name).ok_or("no such target")?;
    let seeds = read_seeds(name).map_err(|error| format!("corpus/{name}: {error}"))?;
    if seeds.is_empty() {
        return Err(format!("corpus/{name} is empty"));
    }
    for seed in &seeds {
        panic::catch_unwind(|| (target.run)(&seed.bytes))
            .map_err(|_| format!("corpus/{name}/{} breaks the target", seed.name))?;
    }
    let mut mutator = Mutator::new(SEED, &seeds, target.dictionary);
    for execution in 0..EXECUTIONS {
        let bytes = mutator.make();
        if panic::catch_unwind(|| (target.run)(&bytes)).is_err() {
            let kept = write_crash(name, &bytes).map(|path| path.display().to_string());
            return Err(format!(
                "execution {execution} breaks the target; the input is kept: {kept:?}"
            ));
        }
    }
    Ok(())
}

/// One test for each target, so that they run side by side.
macro_rules! tests {
    ($($test:ident => $name:literal,)*) => {
        $(
            #[test]
            fn $test() -> Result<(), String> {
                check($name)
            }
        )*

        #[test]
        fn every_target_is_tested() {
            let tested = [$($name),*];
            let all: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(all, tested);
        }
    };
}

tests! {
    address_set_holds => "address-set",
    checkpoint_holds => "checkpoint",
    fingerprint_file_holds => "fingerprint-file",
    fingerprint_text_holds => "fingerprint-text",
    first_look_holds => "first-look",
    first_look_inputs_hold => "first-look-inputs",
    frame_holds => "frame",
    http_reply_holds => "http-reply",
    port_set_holds => "port-set",
    port_spec_holds => "port-spec",
    reason_holds => "reason",
    received_by_discovery_holds => "received-by-discovery",
    received_by_syn_holds => "received-by-syn",
    scope_file_holds => "scope-file",
    service_reply_holds => "service-reply",
    target_input_holds => "target-input",
    target_spec_holds => "target-spec",
    text_holds => "text",
    tls_reply_holds => "tls-reply",
    udp_reply_holds => "udp-reply",
}
