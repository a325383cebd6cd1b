//! Without the wrapper, events land in the spans of other coroutines.

mod common;

use tracing_subscriber::layer::SubscriberExt;

#[test]
fn events_land_astray() {
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(common::Landing))
        .expect("the first one");
    // Each span becomes the child of a neighbour's, so more of them would nest without end.
    common::runtimes()[0].run(|| common::program(10, 4));
    let (astray, all) = common::take_astray();
    assert!(astray.len() > all / 10, "{} of {all}", astray.len());
}
