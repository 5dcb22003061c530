//! A table of DynamoDB with the few forms of expressions that tierd sends.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

pub type Item = Map<String, Value>;

/// Items by their key's values.
#[derive(Default)]
pub struct Table {
    pub items: BTreeMap<Vec<String>, Item>,
    pub keys: Vec<&'static str>,
    /// The checkpoints that have once said that their shard was read to its end.
    pub once_ended: BTreeSet<Vec<String>>,
}

/// A condition that did not hold.
pub struct Refused;

/// What a write did to an item.
pub struct Change {
    pub key: Vec<String>,
    pub new: Option<Item>,
}

impl Table {
    pub fn new(keys: &[&'static str]) -> Self {
        Self { keys: keys.to_vec(), ..Self::default() }
    }

    pub fn key(&self, of: &Value) -> Vec<String> {
        self.keys.iter().map(|key| text(&of[*key])).collect()
    }

    pub fn get(&self, request: &Value) -> Value {
        match self.items.get(&self.key(&request["Key"])) {
            Some(item) => json!({ "Item": item }),
            None => json!({}),
        }
    }

    /// What a put, an update or a delete would change.
    pub fn change(&self, operation: &str, request: &Value) -> Result<Change, Refused> {
        let key = self.key(if operation == "PutItem" { &request["Item"] } else { &request["Key"] });
        let old = self.items.get(&key).cloned();
        let names = Names(request);
        if let Some(condition) = request["ConditionExpression"].as_str()
            && !names.holds(condition, old.as_ref())
        {
            return Err(Refused);
        }
        let new = match operation {
            "DeleteItem" => None,
            "PutItem" => request["Item"].as_object().cloned(),
            _ => {
                let mut item = old.clone().or_else(|| request["Key"].as_object().cloned()).unwrap_or_default();
                names.update(request["UpdateExpression"].as_str().unwrap_or_default(), &mut item);
                Some(item)
            }
        };
        Ok(Change { key, new })
    }

    pub fn apply(&mut self, change: &Change) {
        if change
            .new
            .as_ref()
            .is_some_and(|item| item.get("position").is_some_and(|position| text(position) == "ended"))
        {
            self.once_ended.insert(change.key.clone());
        }
        match &change.new {
            Some(item) => self.items.insert(change.key.clone(), item.clone()),
            None => self.items.remove(&change.key),
        };
    }

    /// The items of one partition whose sort key begins with `:prefix`.
    pub fn query(&self, request: &Value) -> Value {
        let values = &request["ExpressionAttributeValues"];
        let (pk, prefix) = (text(&values[":pk"]), text(&values[":prefix"]));
        let found = self.items.iter().filter(|(key, _)| key[0] == pk && key[1].starts_with(&prefix));
        json!({ "Items": found.map(|(_, item)| item).collect::<Vec<_>>() })
    }

    pub fn scan(&self) -> Value {
        json!({ "Items": self.items.values().collect::<Vec<_>>() })
    }
}

struct Names<'a>(&'a Value);

impl Names<'_> {
    fn name<'b>(&'b self, name: &'b str) -> &'b str {
        let name = name.trim();
        self.0["ExpressionAttributeNames"][name].as_str().unwrap_or(name)
    }

    fn value(&self, value: &str) -> Value {
        let value = &self.0["ExpressionAttributeValues"][value.trim()];
        assert!(!value.is_null(), "no such value in {}", self.0);
        value.clone()
    }

    fn holds(&self, condition: &str, item: Option<&Item>) -> bool {
        let any = split_outside(condition, " OR ");
        any.into_iter().any(|all| split_outside(all, " AND ").into_iter().all(|term| self.term(term.trim(), item)))
    }

    fn term(&self, term: &str, item: Option<&Item>) -> bool {
        let attribute = |name: &str| item.and_then(|item| item.get(self.name(name)));
        let inside = |function: &str| term.strip_prefix(function).and_then(|rest| rest.strip_suffix(')'));
        if let Some(condition) = inside("(") {
            return self.holds(condition, item);
        }
        if let Some((name, kind)) = inside("attribute_type(").and_then(|both| both.split_once(',')) {
            return attribute(name).is_some_and(|have| have.get(text(&self.value(kind))).is_some());
        }
        if let Some(name) = inside("attribute_exists(") {
            return attribute(name).is_some();
        }
        if let Some(name) = inside("attribute_not_exists(") {
            return attribute(name).is_none();
        }
        if let Some((name, value)) = term.split_once(" <= ") {
            return attribute(name).is_some_and(|have| number(have) <= number(&self.value(value)));
        }
        let (name, value) = term.split_once(" = ").unwrap_or_else(|| panic!("the model does not know {term:?}"));
        attribute(name) == Some(&self.value(value))
    }

    fn update(&self, expression: &str, item: &mut Item) {
        let (set, remove) = match expression.split_once("REMOVE ") {
            Some((set, remove)) => (set, remove),
            None => (expression, ""),
        };
        for assignment in set.trim().strip_prefix("SET ").unwrap_or_default().split(',') {
            let Some((name, value)) = assignment.split_once(" = ") else { continue };
            let value = match value.split_once(" + ") {
                Some((name, more)) => {
                    let sum = item.get(self.name(name)).map_or(0, number) + number(&self.value(more));
                    json!({ "N": sum.to_string() })
                }
                None => self.value(value),
            };
            item.insert(self.name(name).to_owned(), value);
        }
        for name in remove.split(',').filter(|name| !name.trim().is_empty()) {
            item.remove(self.name(name));
        }
    }
}

/// The parts of `condition` between the `separator`s that stand in no brackets.
fn split_outside<'a>(condition: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, letter) in condition.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && at >= from && condition[at..].starts_with(separator) => {
                parts.push(&condition[from..at]);
                from = at + separator.len();
            }
            _ => {}
        }
    }
    parts.push(&condition[from..]);
    parts
}

pub fn text(value: &Value) -> String {
    value["S"].as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> u64 {
    value["N"].as_str().and_then(|n| n.parse().ok()).unwrap_or_default()
}
