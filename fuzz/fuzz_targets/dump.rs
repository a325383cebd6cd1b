//! The JSON of a dump, with names of coroutines made from the bytes: it can be parsed, and has these names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sward_fuzz::RUNTIME;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let names: Vec<String> = text.split('\n').take(4).map(|name| name.chars().take(100).collect()).collect();
    RUNTIME.run(|| {
        let parked: Vec<_> = names
            .iter()
            .filter_map(|name| sward::task::Builder::new().name(name.clone()).spawn(sward::task::park).ok())
            .collect();
        sward::yield_now();
        let dump = sward::observe::dump();
        let json: serde_json::Value = serde_json::from_str(&dump.to_json()).expect("JSON");
        let mut found = Vec::new();
        collect(&json, &mut found);
        for handle in &parked {
            let name = handle.task().name().map(str::to_owned).unwrap_or_default();
            assert!(found.contains(&name), "{name:?} is not in {found:?}");
        }
        for handle in parked {
            handle.cancel();
            let _ = handle.join();
        }
    });
});

/// All values of fields `name`.
fn collect(value: &serde_json::Value, into: &mut Vec<String>) {
    match value {
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    serde_json::Value::String(name) if key == "name" => into.push(name.clone()),
                    _ => collect(value, into),
                }
            }
        }
        _ => {}
    }
}
