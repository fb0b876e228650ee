//! What is delivered.
//!
//! Receivers are told to check the signature over the bytes of the body. Many check it over `JSON.stringify(JSON.parse(body))` instead, as
//! the tutorial's own example does, so the body is written as ECMAScript would write it: no white space, names that are array indexes
//! first (in their order), numbers in their shortest form. What cannot survive there (integers beyond 2^53) is written exactly.

use serde_json::{Number, Value, json};

/// The payload of an event: `{id, event, timestamp, data}`, of the id and the body that the event is kept under.
#[must_use]
pub fn payload(id: &str, body: &Value) -> Value {
    json!({"id": id, "event": body["event"], "timestamp": body["timestamp"], "data": body["data"]})
}

/// The text of a payload: the same bytes each time.
#[must_use]
pub fn text(payload: &Value) -> String {
    let mut text = String::from("{");
    // In the order in which people read them; what else there is comes behind.
    let first = ["id", "event", "timestamp", "data"];
    let members = payload.as_object();
    let known = first.iter().filter_map(|name| Some((*name, members?.get(*name)?)));
    let mut others: Vec<(&str, &Value)> = members
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
        .filter(|(name, _)| !first.contains(name))
        .collect();
    others.sort_by_key(|(name, _)| *name);
    for (place, (name, value)) in known.chain(others).enumerate() {
        member(place, name, value, &mut text);
    }
    text.push('}');
    text
}

fn member(place: usize, name: &str, value: &Value, text: &mut String) {
    if place > 0 {
        text.push(',');
    }
    text.push_str(&Value::from(name).to_string());
    text.push(':');
    write(value, text);
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Number(number) => text.push_str(&decimal(number)),
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_by_key(|(name, _)| (index(name).is_none(), index(name), name.as_str()));
            text.push('{');
            for (place, (name, value)) in members.into_iter().enumerate() {
                member(place, name, value, text);
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

/// A name that is an array index: ECMAScript puts those first. <https://tc39.es/ecma262/#sec-ordinaryownpropertykeys>
fn index(name: &str) -> Option<u32> {
    let number: u32 = name.parse().ok().filter(|number| *number < u32::MAX)?;
    (number.to_string() == name).then_some(number)
}

/// A number as ECMAScript writes it. <https://tc39.es/ecma262/#sec-numeric-types-number-tostring>
fn decimal(number: &Number) -> String {
    if !number.is_f64() {
        return number.to_string();
    }
    let Some(float) = number.as_f64().filter(|float| *float != 0.0) else { return "0".to_owned() };
    // Rust's exponential form has the shortest digits that read back as the same number, as ECMAScript wants them.
    let (sign, text) = (if float < 0.0 { "-" } else { "" }, format!("{:e}", float.abs()));
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = digits.replace('.', "");
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    let at = usize::try_from(point).unwrap_or(0);
    let written = match point {
        _ if count <= point && point <= 21 => format!("{digits}{}", zeros(point - count)),
        1..=21 => format!("{}.{}", &digits[..at], &digits[at..]),
        -5..=0 => format!("0.{}{digits}", zeros(-point)),
        _ => {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            let plus = if point > 0 { "+" } else { "-" };
            format!("{first}{dot}{rest}e{plus}{}", (point - 1).abs())
        }
    };
    format!("{sign}{written}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_the_members_of_the_tutorial_and_an_id() {
        let body = json!({"event": "task.completed", "timestamp": "2026-03-02T10:35:00Z", "data": {"task_id": "t", "duration_ms": 4523}});
        let expected = r#"{"id":"evt_1","event":"task.completed","timestamp":"2026-03-02T10:35:00Z","data":{"duration_ms":4523,"task_id":"t"}}"#;
        assert_eq!(text(&payload("evt_1", &body)), expected);
    }

    /// What `JSON.stringify(JSON.parse(…))` of Node 20 makes of each is what stands beside it.
    #[test]
    fn the_text_is_what_javascript_makes_of_it_when_it_reads_and_writes_it_again() {
        for (read, written) in [
            ("1.0", "1"),
            ("-0.0", "0"),
            ("1e2", "100"),
            ("0.1", "0.1"),
            ("-12.5", "-12.5"),
            ("1e-6", "0.000001"),
            ("1e-7", "1e-7"),
            ("1.5e-9", "1.5e-9"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("1.25e+300", "1.25e+300"),
            ("123456789.25", "123456789.25"),
            ("5e-324", "5e-324"),
            ("7", "7"),
            (r#"{"b":1,"10":2,"9":3,"a":[1.0,null,true]}"#, r#"{"9":3,"10":2,"a":[1,null,true],"b":1}"#),
            (r#""\u00e9\n\u001f\u2028\/\"""#, "\"é\\n\\u001f\u{2028}/\\\"\""),
        ] {
            let value: Value = serde_json::from_str(read).expect(read);
            let mut text = String::new();
            write(&value, &mut text);
            assert_eq!(text, written, "{read}");
        }
    }
}
