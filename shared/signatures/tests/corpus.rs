//! The corpus that fuzzing kept: every input goes through its parser on every build.

#[path = "../fuzz/parsers.rs"]
mod parsers;

use std::path::Path;

#[test]
fn no_input_of_the_corpus_panics() {
    type Parser = fn(&[u8]);
    let targets: [(&str, Parser); 7] = [
        ("requests", parsers::requests),
        ("timestamps", parsers::timestamps),
        ("forms", parsers::forms),
        ("jwt", parsers::jwt),
        ("certificates", parsers::certificates),
        ("bodies", parsers::bodies),
        ("sources", parsers::sources),
    ];
    for (name, parser) in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let inputs: Vec<_> =
            std::fs::read_dir(&folder).expect(name).map(|entry| entry.expect("an entry").path()).collect();
        assert!(inputs.len() >= 20, "{name} has {} inputs", inputs.len());
        for input in inputs {
            parser(&std::fs::read(&input).expect("an input"));
        }
    }
}
