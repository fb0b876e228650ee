//! What a request says about its response besides the input; the response repeats it.

use crate::ResponseId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A function of the client that the agent may have called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionTool {
    /// Its name, `[a-zA-Z0-9_-]{1,64}`.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The JSON Schema of its arguments, an object.
    #[serde(default)]
    pub parameters: Option<Map<String, Value>>,
    /// Whether the arguments must follow the schema.
    #[serde(default)]
    pub strict: Option<bool>,
}

/// A request's settings, checked. What a bridge cannot act on (sampling, for instance, is the agent's own affair) is repeated as it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The model that was asked for.
    pub model: String,
    /// What the response continues.
    #[serde(default)]
    pub previous_response_id: Option<ResponseId>,
    /// Instructions for this response alone.
    #[serde(default)]
    pub instructions: Option<String>,
    /// The client's functions.
    #[serde(default)]
    pub tools: Vec<FunctionTool>,
    /// `auto`, `none`, `required`, or an object that names functions.
    #[serde(default = "auto")]
    pub tool_choice: Value,
    /// Whether it may be continued on another connection.
    pub store: bool,
    /// The client's own words.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// The members that are repeated and mean nothing here: `temperature`, `top_p`, `text`, … Each is of the type that the resource wants.
    #[serde(default)]
    pub repeated: Map<String, Value>,
}

fn auto() -> Value {
    Value::from("auto")
}

impl Settings {
    /// Those of a request that says nothing but its model.
    #[must_use]
    pub fn of_model(model: &str) -> Settings {
        Settings {
            model: model.to_owned(),
            previous_response_id: None,
            instructions: None,
            tools: Vec::new(),
            tool_choice: auto(),
            store: true,
            metadata: Map::new(),
            repeated: Map::new(),
        }
    }
}
