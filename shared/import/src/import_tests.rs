use super::*;
use clawbridge_config::check;
use std::path::PathBuf;

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(testdata(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn imported(name: &str, options: &Options) -> Imported {
    import(&fixture(name), options).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"))
}

/// Fixture, golden output, options.
fn goldens() -> Vec<(&'static str, &'static str, Options)> {
    vec![
        ("shop.openapi.yaml", "shop.toml", Options::default()),
        (
            "shop.openapi.yaml",
            "shop-orders.toml",
            Options {
                tags: vec!["orders".to_owned()],
                prefix: "lantern_".to_owned(),
                secret: Some("lantern".to_owned()),
                server: Some("http://127.0.0.1:8080/".to_owned()),
                output: false,
                max_schema: 700,
                ..Options::default()
            },
        ),
        ("tracker.openapi.json", "tracker.toml", Options::default()),
        (
            "desk.graphql.json",
            "desk.toml",
            Options {
                server: Some("https://desk.example/graphql".to_owned()),
                secret: Some("desk".to_owned()),
                ..Options::default()
            },
        ),
        (
            "desk.graphql.json",
            "desk-deep.toml",
            Options {
                server: Some("https://desk.example/graphql/".to_owned()),
                operations: vec!["tickets".to_owned(), "board".to_owned()],
                prefix: "desk-".to_owned(),
                depth: 3,
                ..Options::default()
            },
        ),
    ]
}

#[test]
fn the_golden_outputs_are_what_is_made() {
    for (name, golden, options) in goldens() {
        let made = imported(name, &options);
        let text = made.to_toml();
        assert_eq!(text, imported(name, &options).to_toml(), "{name}: the same bytes each time");
        let path = testdata(golden);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(text == expected, "{golden} is not what is made of {name}; see testdata/README.md\n{text}");
    }
}

#[test]
fn check_accepts_every_declaration() {
    for (name, golden, options) in goldens() {
        let made = imported(name, &options);
        let (config, diagnostics) = check(&made.to_toml());
        let errors: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
        let config = config.unwrap_or_else(|| panic!("{golden}: {errors:#?}"));
        assert_eq!(errors, Vec::<String>::new(), "{golden}");
        let mut names: Vec<&str> = made.tools().collect();
        names.sort_unstable();
        assert!(!names.is_empty());
        assert_eq!(names, config.tools.keys().map(String::as_str).collect::<Vec<_>>(), "{golden}");
    }
}
