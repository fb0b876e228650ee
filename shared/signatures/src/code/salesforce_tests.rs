use super::*;
use crate::{Headers, Request, Source, verify};

const SESSION: &str = "00DA0000000CXAM!AQ8AQHwogrxFUHYyM3M65BM_mzU63mbZl78iW8nEItuuU.GRQJ6r6";

/// Two notifications as Salesforce writes them, with what XML allows besides.
fn message() -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <soapenv:Body>
  <notifications xmlns="http://soap.sforce.com/2005/09/outbound">
   <OrganizationId>00DA0000000CXAMMA4</OrganizationId>
   <ActionId>04kA00000008StmIAE</ActionId>
   <SessionId>{SESSION}</SessionId>
   <EnterpriseUrl>https://na14.example.com/services/Soap/c/61.0/00DA0000000CXAM</EnterpriseUrl>
   <PartnerUrl>https://na14.example.com/services/Soap/u/61.0/00DA0000000CXAM</PartnerUrl>
   <Notification>
    <Id>04lA000000E885fIAB</Id>
    <sObject xsi:type="sf:Opportunity" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">
     <sf:Id>006A000000EkQlzIAF</sf:Id>
     <sf:Name>R&amp;D &lt;caf&#233;&gt; &#x1F980;</sf:Name>
     <sf:Amount>50000.0</sf:Amount>
     <sf:Description><![CDATA[<b>1 < 2 && "x"</b>]]></sf:Description>
     <sf:StageName>Closed<!-- not said --> Won</sf:StageName>
     <sf:CloseDate xsi:nil="true"/>
     <sf:NextStep/>
     <sf:Type>  kept as it is </sf:Type>
     <sf:BillingAddress><sf:city>Oslo</sf:city><sf:street xsi:nil="1"></sf:street></sf:BillingAddress>
     <sf:Tag__c>a</sf:Tag__c>
     <sf:Other__c>o</sf:Other__c>
     <sf:Tag__c>b</sf:Tag__c>
     <sf:Tag__c xsi:nil="true"/>
    </sObject>
   </Notification>
   <Notification>
    <Id>04lA000000E885gIAB</Id>
    <sObject xsi:type="sf:IO__Order__c" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">
     <sf:Id>a01A0000006qftoIAA</sf:Id>
    </sObject>
   </Notification>
  </notifications>
 </soapenv:Body>
</soapenv:Envelope>
"#
    )
}

fn json(body: &str) -> Vec<String> {
    let notifications = notifications(body.as_bytes()).expect(body);
    notifications.iter().map(|one| String::from_utf8(one.to_json()).expect("JSON is UTF-8")).collect()
}

fn code(body: &str) -> &'static str {
    notifications(body.as_bytes()).map_or_else(|refusal| refusal.code(), |_| "a message")
}

fn outcome(secrets: &str, body: &str) -> Result<usize, &'static str> {
    let document = format!(r#"{{"scheme":"salesforce","secrets":{secrets}}}"#);
    let source = Source::from_secret(document.as_bytes()).expect(secrets);
    let request = Request { method: "POST", url: None, query: "", headers: Headers::default(), body: body.as_bytes() };
    verify(&source, &request, 0).map(|verified| verified.secret_index()).map_err(|refusal| refusal.code())
}

#[test]
fn a_message_is_split_into_its_notifications() {
    let head = r#"{"organization_id":"00DA0000000CXAMMA4","action_id":"04kA00000008StmIAE","enterprise_url":"https://na14.example.com/services/Soap/c/61.0/00DA0000000CXAM","partner_url":"https://na14.example.com/services/Soap/u/61.0/00DA0000000CXAM","#;
    let fields = r#"{"Id":"006A000000EkQlzIAF","Name":"R&D <café> 🦀","Amount":"50000.0","Description":"<b>1 < 2 && \"x\"</b>","StageName":"Closed Won","CloseDate":null,"NextStep":"","Type":"  kept as it is ","BillingAddress":{"city":"Oslo","street":null},"Tag__c":["a","b",null],"Other__c":"o"}"#;
    assert_eq!(
        json(&message()),
        [
            format!(r#"{head}"id":"04lA000000E885fIAB","type":"Opportunity","fields":{fields}}}"#),
            format!(
                r#"{head}"id":"04lA000000E885gIAB","type":"IO__Order__c","fields":{{"Id":"a01A0000006qftoIAA"}}}}"#
            ),
        ]
    );
    let notifications = notifications(message().as_bytes()).expect("a message");
    let names: Vec<_> = notifications.iter().map(|one| (one.id(), one.object_type())).collect();
    assert_eq!(names, [("04lA000000E885fIAB", Some("Opportunity")), ("04lA000000E885gIAB", Some("IO__Order__c"))]);
}

#[test]
fn the_session_is_nowhere_in_what_is_made_of_a_message() {
    let secret = SESSION.split_once('!').expect("an id and a secret").1;
    let link = format!("<sf:Link__c>https://x.example/?sid=00DA0000000CXAM%21{secret}&amp;a=b {SESSION}</sf:Link__c>");
    let split = format!(
        "<sf:Split__c>{}<!-- -->{}<![CDATA[{}]]></sf:Split__c>",
        &SESSION[..20],
        &SESSION[20..40],
        &SESSION[40..]
    );
    let nested = format!("<sf:A><sf:B>{SESSION}</sf:B><sf:SessionId>x</sf:SessionId></sf:A>");
    let own = format!("<sf:SessionId>{SESSION}</sf:SessionId>");
    let body = message()
        .replace("<sf:NextStep/>", &format!("{link}{split}{nested}{own}"))
        .replace("/u/61.0/", &format!("/u/61.0/{SESSION}/"))
        .replace("<Notification>", &format!("<Other>{SESSION}</Other><Notification><Other>{SESSION}</Other>"));
    let made = json(&body);
    assert_eq!(made.len(), 2);
    for one in &made {
        assert!(!one.contains(secret) && !one.contains("Session"), "{one}");
    }
    assert!(
        made[0].contains("?sid=00DA0000000CXAM%21[session id removed]&a=b 00DA0000000CXAM![session id removed]"),
        "{}",
        made[0]
    );
    assert!(made[0].contains(r#""Split__c":"00DA0000000CXAM![session id removed]""#), "{}", made[0]);
    for broken in [
        body.replace("</soapenv:Body>", ""),
        body.replace("04lA000000E885gIAB", SESSION),
        body.replace("00DA0000000CXAMMA4", SESSION),
    ] {
        let refused = notifications(broken.as_bytes());
        assert!(!format!("{refused:?}").contains(secret), "{refused:?}");
        let source =
            Source::from_secret(br#"{"scheme":"salesforce","secrets":["00DA0000000CXAM"]}"#).expect("a source");
        let request =
            Request { method: "POST", url: None, query: "", headers: Headers::default(), body: broken.as_bytes() };
        let refusal = verify(&source, &request, 0).expect_err("broken");
        assert!(!format!("{refusal} {refusal:?}").contains(secret), "{refusal}");
    }
    let shown = format!("{:?}", notifications(body.as_bytes()));
    assert!(shown.contains("04lA000000E885fIAB") && !shown.contains("Oslo") && !shown.contains(secret), "{shown}");
    // A nil session, or none, is no session.
    for without in ["<SessionId xsi:nil=\"true\"/>", "<SessionId></SessionId>", ""] {
        let body = message().replace(&format!("<SessionId>{SESSION}</SessionId>"), without);
        assert_eq!(json(&body), json(&message()), "{without}");
    }
}

#[test]
fn an_organization_is_known_by_either_form_of_its_id() {
    let with = |id: &str| message().replace("00DA0000000CXAMMA4", id);
    for (secrets, id, expected) in [
        (r#"["00DA0000000CXAM"]"#, "00DA0000000CXAMMA4", Ok(0)),
        (r#"["00DA0000000CXAM"]"#, "00DA0000000CXAM", Ok(0)),
        (r#"["00DA0000000CXAMMA4"]"#, "00DA0000000CXAM", Ok(0)),
        (r#"["00D000000000062","00DA0000000CXAMMA4"]"#, "00DA0000000CXAMMA4", Ok(1)),
        (r#"["00DA0000000CXAMMA4"]"#, "\n  00DA0000000CXAMMA4 ", Ok(0)),
        (r#"["00DA0000000CXAM"]"#, "00DA0000000CXAm", Err("SENDER_NOT_LISTED")),
        (r#"["00DA0000000CXAM"]"#, "00D000000000062EAA", Err("SENDER_NOT_LISTED")),
        (r#"["00DA0000000CXAMMA4"]"#, "00DA0000000CXAMMA5", Err("SIGNATURE_MALFORMED")),
        (r#"["00DA0000000CXAMMA4"]"#, "00DA0000000CXAmMA4", Err("SIGNATURE_MALFORMED")),
        (r#"["00DA0000000CXAM"]"#, "00DA0000000CXA", Err("SIGNATURE_MALFORMED")),
        (r#"["00DA0000000CXAM"]"#, "00DA0000000CXAMM", Err("SIGNATURE_MALFORMED")),
        (r#"["00DA0000000CXAM"]"#, "00DA0000000CXé", Err("SIGNATURE_MALFORMED")),
        (r#"["00DA0000000CXAM"]"#, "", Err("SIGNATURE_MISSING")),
    ] {
        assert_eq!(outcome(secrets, &with(id)), expected, "{secrets} {id}");
    }
    let without = message().replace("<OrganizationId>00DA0000000CXAMMA4</OrganizationId>", "");
    assert_eq!(outcome(r#"["00DA0000000CXAM"]"#, &without), Err("SIGNATURE_MISSING"));
}

#[test]
fn an_organization_is_configured_by_a_whole_id() {
    for (text, good) in [
        ("00DA0000000CXAM", true),
        ("00DA0000000CXAMMA4", true),
        ("00D000000000062EAA", true),
        ("00Dd0000000gzcrEAA", true),
        ("00DA0000000CXAMMA5", false),
        ("00DA0000000cXAMMA4", false),
        ("00da0000000cxamma4", false),
        ("006A000000EkQlz", false),
        ("00DA0000000CXA", false),
        ("00DA0000000CXAMM", false),
        ("00DA0000000CX-M", false),
        ("00DA0000000CXAé", false),
    ] {
        assert_eq!(organization(text).is_ok(), good, "{text}");
    }
    assert_eq!(organization("00DA0000000CXAMMA4"), organization("00DA0000000CXAM"));
}

#[test]
fn prefixes_are_the_writers_choice_and_namespaces_are_not() {
    let other = message()
        .replace("soapenv", "S")
        .replace(
            "xmlns=\"http://soap.sforce.com/2005/09/outbound\"",
            "xmlns:o=\"http://soap.sforce.com/2005/09/outbound\"",
        )
        .replace("xsi:", "i:")
        .replace("xmlns:xsi", "xmlns:i")
        .replace("sf:", "f:")
        .replace("xmlns:sf", "xmlns:f");
    let elements = [
        "notifications",
        "OrganizationId",
        "ActionId",
        "SessionId",
        "EnterpriseUrl",
        "PartnerUrl",
        "Notification",
        "Id",
        "sObject",
    ];
    let other = elements.iter().fold(other, |text, name| {
        let text = [" ", ">"]
            .iter()
            .fold(text, |text, end| text.replace(&format!("<{name}{end}"), &format!("<o:{name}{end}")));
        text.replace(&format!("</{name}>"), &format!("</o:{name}>"))
    });
    assert!(other.contains("<o:sObject i:type=\"f:Opportunity\""), "{other}");
    assert_eq!(json(&other), json(&message()));
    for (from, to) in [
        ("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"),
        ("http://soap.sforce.com/2005/09/outbound", "http://soap.sforce.com/2005/09/inbound"),
        (" xmlns=\"http://soap.sforce.com/2005/09/outbound\"", ""),
        (" xmlns:sf=\"urn:sobject.enterprise.soap.sforce.com\"", ""),
    ] {
        assert_eq!(code(&message().replace(from, to)), "BODY_MALFORMED", "{to}");
    }
    // A header, and elements that a later version may bring, are left out.
    let later = message()
        .replace(
            "<soapenv:Body>",
            "<soapenv:Header><x><OrganizationId>y</OrganizationId></x></soapenv:Header><soapenv:Body>",
        )
        .replace("<ActionId>", "<Later><Notification/></Later><x:ActionId xmlns:x=\"urn:x\">y</x:ActionId><ActionId>")
        .replace("<Id>", "<Later/><Id>");
    assert_eq!(json(&later), json(&message()));
}

#[test]
fn what_must_be_there_once_is() {
    for (from, to) in [
        ("<Id>04lA000000E885gIAB</Id>", ""),
        ("<Id>04lA000000E885gIAB</Id>", "<Id/>"),
        ("<Id>04lA000000E885gIAB</Id>", "<Id xsi:nil=\"true\"/>"),
        ("<Id>04lA000000E885gIAB</Id>", "<Id>04lA000000E885gIAC</Id>"),
        ("<Id>04lA000000E885gIAB</Id>", "<Id>a b</Id>"),
        ("<Id>04lA000000E885gIAB</Id>", "<Id><Id>04lA000000E885gIAB</Id></Id>"),
        ("<Id>04lA000000E885gIAB</Id>", "<Id>04lA000000E885gIAB</Id><Id>04lA000000E885gIAB</Id>"),
        ("<ActionId>04kA00000008StmIAE</ActionId>", ""),
        ("<ActionId>04kA00000008StmIAE</ActionId>", "<ActionId>x</ActionId>"),
        ("<ActionId>", "<ActionId>04kA00000008StmIAE</ActionId><ActionId>"),
        ("<OrganizationId>", "<OrganizationId>00D000000000062EAA</OrganizationId><OrganizationId>"),
        ("<SessionId>", "<SessionId>x</SessionId><SessionId>"),
        ("<soapenv:Body>", "<soapenv:Body/><soapenv:Body>"),
        ("</soapenv:Body>", "</soapenv:Body><soapenv:Header/>"),
        ("</notifications>", "</notifications><notifications xmlns=\"http://soap.sforce.com/2005/09/outbound\"/>"),
        ("</notifications>", "</notifications><x/>"),
        ("</soapenv:Envelope>", "</soapenv:Envelope><x/>"),
        ("</soapenv:Envelope>", "</soapenv:Envelope>x"),
        ("<Notification>", "x<Notification>"),
        ("<sf:NextStep/>", "x"),
        ("<sf:NextStep/>", "&amp;"),
        ("<sf:NextStep/>", "<sf:NextStep>x<sf:y/></sf:NextStep>"),
        ("<sf:NextStep/>", "<sf:NextStep xsi:nil=\"true\">x</sf:NextStep>"),
        ("<sf:NextStep/>", "<sf:NextStep xsi:nil=\"maybe\"/>"),
        ("xsi:type=\"sf:Opportunity\"", "xsi:type=\"sf:a b\""),
    ] {
        let body = message().replacen(from, to, 1);
        assert_ne!(body, message());
        assert_eq!(code(&body), "BODY_MALFORMED", "{from} {to}");
    }
    let empty = message();
    let (before, _) = empty.split_once("<Notification>").expect("a notification");
    let (_, after) = empty.rsplit_once("</Notification>").expect("a notification");
    assert_eq!(code(&format!("{before}{after}")), "BODY_MALFORMED");
    let one = "<Notification><Id>04lA000000E885g</Id><sObject/></Notification>";
    assert_eq!(json(&format!("{before}{}{after}", one.repeat(100))).len(), 100);
    assert!(json(&format!("{before}{one}{after}"))[0].ends_with(r#""id":"04lA000000E885g","type":null,"fields":{}}"#));
    assert_eq!(code(&format!("{before}{}{after}", one.repeat(101))), "BODY_MALFORMED");
}

#[test]
fn what_soap_forbids_is_refused() {
    let entities = r#"<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>"#;
    for (from, to) in [
        ("<soapenv:Envelope", format!("{entities}<soapenv:Envelope").as_str()),
        ("<soapenv:Envelope", "<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><soapenv:Envelope"),
        ("<soapenv:Body>", "<!DOCTYPE x><soapenv:Body>"),
        ("<soapenv:Envelope", "<?xml-stylesheet href=\"x\"?><soapenv:Envelope"),
        ("<soapenv:Body>", "<?x y?><soapenv:Body>"),
        ("<soapenv:Body>", "<?xml version=\"1.0\"?><soapenv:Body>"),
        ("50000.0", "&c;"),
        ("50000.0", "&nbsp;"),
        ("50000.0", "& "),
        ("50000.0", "&#0;"),
        ("50000.0", "&#1;"),
        ("50000.0", "&#xD800;"),
        ("50000.0", "&#99999999999;"),
        ("50000.0", "\u{1}"),
        ("50000.0", "</sf:Name>"),
        ("<sf:Amount>", "<sf:Amount a=\"1\" a=\"2\">"),
        ("<sf:Amount>", "<sf:Amount a=1>"),
        ("<sf:Amount>", "<x:Amount>"),
        ("<sf:Amount>50000.0</sf:Amount>", "<sf:A\"mount/>"),
        ("<sf:Amount>50000.0</sf:Amount>", "<sf:/>"),
        ("encoding=\"UTF-8\"", "encoding=\"UTF-16\""),
        ("version=\"1.0\"", "version=\"1.1\""),
        ("<?xml", " <?xml"),
    ] {
        let body = message().replacen(from, to, 1);
        assert_ne!(body, message());
        assert_eq!(code(&body), "BODY_MALFORMED", "{from} {to}");
    }
    let latin = message().replace('é', "x").into_bytes();
    let at = latin.len() / 2;
    assert!(notifications(&[&latin[..at], b"\xff", &latin[at..]].concat()).is_err());
    assert_eq!(json(&format!("\u{feff}{}", message())), json(&message()));
    let bare = message().replace("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", "");
    assert_eq!(json(&bare), json(&message()));
}

#[test]
fn a_message_has_bounds() {
    for (from, to) in [
        ("<sf:NextStep/>", format!("{}{}", "<sf:a>".repeat(1 << 16), "</sf:a>".repeat(1 << 16))),
        ("<soapenv:Body>", format!("<soapenv:Header>{}", "<x>".repeat(1 << 16))),
        ("<sf:NextStep/>", "<sf:a/>".repeat(100_001)),
        ("<sf:NextStep/>", format!("<sf:{}/>", "a".repeat(256))),
        ("<sf:NextStep/>", format!("<sf:a {}/>", (0..33).map(|n| format!("a{n}=\"\"")).collect::<Vec<_>>().join(" "))),
        (
            "<sf:NextStep/>",
            format!("<sf:a {}/>", (0..200_000).map(|n| format!("xmlns:a{n}=\"u\"")).collect::<Vec<_>>().join(" ")),
        ),
    ] {
        assert_eq!(code(&message().replacen(from, &to, 1)), "BODY_MALFORMED", "{from}");
    }
    let wide = message().replacen("<sf:NextStep/>", &(0..2000).map(|n| format!("<sf:f{n}/>")).collect::<String>(), 1);
    assert!(json(&wide)[0].contains(r#""f1999":"""#));
    let deep = message().replacen("<sf:NextStep/>", &format!("{}{}", "<sf:a>".repeat(20), "</sf:a>".repeat(20)), 1);
    assert!(json(&deep)[0].contains(r#"{"a":{"a":""#));
}

#[test]
fn a_message_cut_off_anywhere_is_refused() {
    let whole = message();
    let whole = whole.trim_end();
    for end in 0..whole.len() {
        assert!(notifications(&whole.as_bytes()[..end]).is_err(), "cut at {end}");
    }
    assert!(notifications(whole.as_bytes()).is_ok());
}

#[test]
fn a_changed_byte_never_panics() {
    let whole = message().into_bytes();
    for at in 0..whole.len() {
        for byte in [b'<', b'>', b'&', b'"', b'/', 0xff] {
            let mut changed = whole.clone();
            changed[at] = byte;
            if let Ok(notifications) = notifications(&changed) {
                assert!(
                    notifications.iter().all(|one| serde_json::from_slice::<serde_json::Value>(&one.to_json()).is_ok())
                );
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_text_like_xml_panics(text in r#"(<\?xml version="1.0"\?>)?(<|</|<!--|-->|<!\[CDATA\[|\]\]>|<!DOCTYPE|&#?x?|;|>|/>| a="|"| xmlns:a="|a:|b|xsi:nil|\[|\]|é){0,40}"#) {
        let _ = notifications(text.as_bytes());
        let within = message().replacen("<sf:NextStep/>", &text, 1);
        let _ = notifications(within.as_bytes());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = notifications(&bytes);
    }

    #[test]
    fn a_field_comes_out_as_its_text(text in r"[ -~é🦀\t\n]{0,60}") {
        let body = message().replacen("50000.0", &quick_xml::escape::escape(text.as_str()), 1);
        let one: serde_json::Value = serde_json::from_str(&json(&body)[0]).expect("JSON");
        proptest::prop_assert_eq!(one["fields"]["Amount"].as_str(), Some(text.as_str()));
    }
}
