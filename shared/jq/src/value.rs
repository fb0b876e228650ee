//! JSON values into the interpreter and out of it, within bounds.

use jaq_json::{Map, Num, Val};
use serde_json::Value;

use crate::RunError;

/// The deepest input, in levels of arrays and objects. What serde_json parses from text is never deeper.
pub const MAX_INPUT_DEPTH: usize = 128;
/// The deepest output, in levels of arrays and objects: less than serde_json reads back, because outputs travel in envelopes.
pub const MAX_OUTPUT_DEPTH: usize = 100;
/// The largest output, in bytes: the text of strings and keys plus 16 bytes for each value.
pub const MAX_OUTPUT_BYTES: usize = 8 * 1024 * 1024;

/// What each value of an output counts for beside its text.
const BYTES_PER_VALUE: usize = 16;

/// The interpreter's form of a JSON value.
pub(crate) fn enter(value: &Value) -> Result<Val, RunError> {
    into_val(value, MAX_INPUT_DEPTH)
}

fn into_val(value: &Value, depth_left: usize) -> Result<Val, RunError> {
    Ok(match value {
        Value::Null => Val::Null,
        Value::Bool(b) => Val::Bool(*b),
        Value::Number(n) => Val::Num(match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(int), _, _) => Num::from_integral(int),
            (None, Some(int), _) => Num::from_integral(int),
            (None, None, Some(float)) => Num::Float(float),
            (None, None, None) => Num::from_dec_str(&n.to_string()),
        }),
        Value::String(s) => Val::utf8_str(s.clone()),
        Value::Array(items) => {
            let depth_left = depth_left.checked_sub(1).ok_or(RunError::InputTooDeep)?;
            let items: Result<Vec<Val>, RunError> = items.iter().map(|item| into_val(item, depth_left)).collect();
            items?.into_iter().collect()
        }
        Value::Object(fields) => {
            let depth_left = depth_left.checked_sub(1).ok_or(RunError::InputTooDeep)?;
            let mut map = Map::default();
            for (key, field) in fields {
                map.insert(Val::utf8_str(key.clone()), into_val(field, depth_left)?);
            }
            Val::obj(map)
        }
    })
}

/// The JSON form of an output.
pub(crate) fn leave(value: &Val) -> Result<Value, RunError> {
    Exit { bytes_left: MAX_OUTPUT_BYTES }.value(value, MAX_OUTPUT_DEPTH)
}

/// An output on its way out. Counts what it makes: the interpreter shares parts of a value, JSON repeats them.
struct Exit {
    bytes_left: usize,
}

impl Exit {
    fn charge(&mut self, bytes: usize) -> Result<(), RunError> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(RunError::OutputTooLarge)?;
        Ok(())
    }

    fn value(&mut self, value: &Val, depth_left: usize) -> Result<Value, RunError> {
        self.charge(BYTES_PER_VALUE)?;
        Ok(match value {
            Val::Null => Value::Null,
            Val::Bool(b) => Value::Bool(*b),
            Val::Num(n) => Value::Number(number(n)?),
            Val::TStr(text) => Value::String(self.text(text)?),
            Val::BStr(_) => return Err(RunError::NotJson { what: "a byte string" }),
            Val::Arr(items) => {
                let depth_left = depth_left.checked_sub(1).ok_or(RunError::OutputTooDeep)?;
                let items: Result<Vec<Value>, RunError> =
                    items.iter().map(|item| self.value(item, depth_left)).collect();
                Value::Array(items?)
            }
            Val::Obj(fields) => {
                let depth_left = depth_left.checked_sub(1).ok_or(RunError::OutputTooDeep)?;
                let mut object = serde_json::Map::new();
                for (key, field) in fields.iter() {
                    let Val::TStr(key) = key else {
                        return Err(RunError::NotJson { what: "an object key that is not text" });
                    };
                    let key = self.text(key)?;
                    let field = self.value(field, depth_left)?;
                    object.insert(key, field);
                }
                Value::Object(object)
            }
        })
    }

    fn text(&mut self, bytes: &[u8]) -> Result<String, RunError> {
        self.charge(bytes.len())?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(RunError::NotJson { what: "text that is not UTF-8" }),
        }
    }
}

/// A JSON number: integers exactly or not at all, everything else as the nearest double.
fn number(n: &Num) -> Result<serde_json::Number, RunError> {
    let double = |f: f64| serde_json::Number::from_f64(f).ok_or(RunError::NotJson { what: "an infinite number" });
    match n {
        Num::Int(i) => Ok((*i).into()),
        // As a double it would have other digits: no identifier survives that.
        Num::BigInt(i) => match u64::try_from(&**i) {
            Ok(i) => Ok(i.into()),
            Err(_) => Err(RunError::NotJson { what: "an integer beyond 64 bits" }),
        },
        Num::Float(f) if f.is_nan() => Err(RunError::NotJson { what: "NaN" }),
        Num::Float(f) => double(*f),
        // Not by way of serde_json, which does not always find the nearest double.
        Num::Dec(text) => double(text.parse().map_err(|_| RunError::NotJson { what: "NaN" })?),
    }
}

/// Whether `value` nests at most `limit` levels deep; and how many values were looked at to know it.
pub(crate) fn is_within_depth(value: &Val, limit: usize, seen: &mut usize) -> bool {
    *seen += 1;
    match value {
        Val::Arr(items) => limit > 0 && items.iter().all(|item| is_within_depth(item, limit - 1, seen)),
        Val::Obj(fields) => limit > 0 && fields.values().all(|field| is_within_depth(field, limit - 1, seen)),
        Val::Null | Val::Bool(_) | Val::Num(_) | Val::BStr(_) | Val::TStr(_) => true,
    }
}
