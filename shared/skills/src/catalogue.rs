//! The bundles that come along.

use crate::bundle::Bundle;
use std::sync::LazyLock;

const FILES: [&str; 7] = [
    include_str!("catalogue/byterover.toml"),
    include_str!("catalogue/github.toml"),
    include_str!("catalogue/hubspot.toml"),
    include_str!("catalogue/openclaw.toml"),
    include_str!("catalogue/shopify.toml"),
    include_str!("catalogue/slack.toml"),
    include_str!("catalogue/stripe.toml"),
];

/// All of them, by name.
#[must_use]
pub fn catalogue() -> &'static [Bundle] {
    static ALL: LazyLock<Vec<Bundle>> =
        LazyLock::new(|| FILES.iter().filter_map(|text| Bundle::from_toml(text).ok()).collect());
    &ALL
}

/// The one of this name.
#[must_use]
pub fn in_catalogue(name: &str) -> Option<&'static Bundle> {
    catalogue().iter().find(|bundle| bundle.name == name)
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
