use super::*;
use crate::provider::tests::{map, read, ready};
use proptest::prelude::*;

#[test]
fn an_accounts_values_cannot_change_where_a_secret_goes() {
    let shopify = read(&ready("shopify", ""));
    let token_url = |shop: &str| {
        let filled = shopify.for_account(&map(&[("shop", shop)]))?;
        Ok::<_, ParameterError>((filled.token_url.unwrap(), filled.parameters["shop"].clone()))
    };
    assert_eq!(
        token_url("acme"),
        Ok(("https://acme.myshopify.com/admin/oauth/access_token".to_owned(), "acme".to_owned()))
    );
    for shop in
        ["evil.com/", "evil.com#", "evil.com?x", "a@b", "a:1", "-a", "a.", ".a", "a..b", "a_b", "é", "a b", "{x}"]
    {
        assert_eq!(token_url(shop), Err(ParameterError::Characters { name: "shop".into() }), "{shop}");
    }
    assert_eq!(token_url("").unwrap_err().code(), "PARAMETER_MISSING");
    let unknown = shopify.for_account(&map(&[("shp", "acme")])).unwrap_err();
    assert_eq!((unknown.code(), unknown.name()), ("PARAMETER_UNKNOWN", "shp"));

    let microsoft = read(&ready("microsoft", ""));
    for (tenant, expected) in [
        ("acme.example", Ok("https://login.microsoftonline.com/acme.example/oauth2/v2.0/token")),
        ("a:b", Ok("https://login.microsoftonline.com/a%3Ab/oauth2/v2.0/token")),
        ("", Ok("https://login.microsoftonline.com/organizations/oauth2/v2.0/token")),
        ("..", Err("PARAMETER_INVALID")),
        ("a/b", Err("PARAMETER_INVALID")),
    ] {
        let filled = microsoft.for_account(&map(&[("tenant", tenant)]));
        let found = filled.map(|filled| filled.token_url.unwrap()).map_err(|error| error.code());
        assert_eq!(found.as_deref().map_err(|code| *code), expected, "{tenant}");
    }
}

proptest! {
    #[test]
    fn a_filled_in_address_keeps_its_host(value in "[a-c.@:/?#-]{1,6}") {
        let shopify = read(&ready("shopify", ""));
        if let Ok(filled) = shopify.for_account(&map(&[("shop", &value)])) {
            let url = filled.token_url.unwrap();
            let host = url["https://".len()..].split(['/', '?', '#', '@', ':', '\\']).next().unwrap();
            prop_assert!(host.ends_with(".myshopify.com"), "{}", url);
        }
    }
}
