//! Mistakes in a policy file: at every place one can be made, and of every kind.

use toml::{Table, Value};

/// A step into a value.
#[derive(Clone, Debug)]
pub enum Step {
    Key(String),
    Element(usize),
}

/// Every place in a table that has a value, with the path of its keys; names of the user's are `*`.
pub fn places(value: &Value, at: &mut Vec<Step>, name: &str, found: &mut Vec<(String, Vec<Step>)>) {
    let steps: Vec<(Step, String, &Value)> = match value {
        Value::Table(table) => {
            let named = ["/set", "/service", "/normalizer"].contains(&name);
            let name = |key: &str| format!("{name}/{}", if named { "*" } else { key });
            table.iter().map(|(key, value)| (Step::Key(key.clone()), name(key), value)).collect()
        }
        Value::Array(elements) => {
            elements.iter().enumerate().map(|(index, value)| (Step::Element(index), format!("{name}[]"), value)).collect()
        }
        _ => return,
    };
    for (step, name, value) in steps {
        at.push(step);
        found.push((name.clone(), at.clone()));
        // The name of an array of tables goes on as that of its elements.
        places(value, at, name.trim_end_matches("[]"), found);
        at.pop();
    }
}

/// A mistake.
#[derive(Clone, Debug)]
pub enum Mistake {
    Remove,
    Rename(&'static str),
    Replace(Value),
}

/// Makes a mistake at a place; false where it cannot be made.
pub fn make(file: &mut Table, steps: &[Step], mistake: &Mistake) -> bool {
    let Some((last, way)) = steps.split_last() else { return false };
    let Some((Step::Key(first), way)) = way.split_first() else {
        let Step::Key(key) = last else { return false };
        return make_in_table(file, key, mistake);
    };
    let mut holder = file.get_mut(first);
    for step in way {
        holder = holder.and_then(|holder| match step {
            Step::Key(key) => holder.get_mut(key),
            Step::Element(index) => holder.get_mut(*index),
        });
    }
    match (holder, last) {
        (Some(Value::Table(table)), Step::Key(key)) => make_in_table(table, key, mistake),
        (Some(Value::Array(elements)), Step::Element(index)) if *index < elements.len() => match mistake {
            Mistake::Remove => {
                elements.remove(*index);
                true
            }
            Mistake::Rename(_) => false,
            Mistake::Replace(value) => {
                elements[*index] = value.clone();
                true
            }
        },
        _ => false,
    }
}

fn make_in_table(table: &mut Table, key: &str, mistake: &Mistake) -> bool {
    let Some(old) = table.remove(key) else { return false };
    match mistake {
        Mistake::Remove => {}
        Mistake::Rename(name) => drop(table.insert((*name).to_owned(), old)),
        Mistake::Replace(value) => drop(table.insert(key.to_owned(), value.clone())),
    }
    true
}

/// Values of every type, and texts that come close to something.
const VALUES: &str = r#"
true
0
1
-1
47
48
65495
65496
4294967295
4294967296
1.5
2027-06-30
2027-06-30T18:00:00
2027-06-30 18:00:00.5+02:00
18:00:00
[]
["any"]
[""]
[1]
[[]]
[{}]
{}
{ x = "drop" }
{ icmp = "1s" }
{ mss = "allow" }
{ "6-7" = "clear" }
""
" "
"any"
"self"
"allow"
"drop"
"pass"
"off"
"on"
"strict"
"bypass"
"default"
"Allow"
"2m"
"1h1h"
"2"
"1m30s1ms"
"10.0.0.1"
"10.0.0.0/8"
"10.0.0.0/008"
"10.0.0.1-10.0.0.9, ::1"
"any 10.0.0.0/8 ,\t2001:db8::/32,"
" any\u00a010.0.0.1\u0085"
"any ::"
"any 300.0.0.1"
"any inside"
"tcp"
"tcp/443,80 81-90"
"tcp/0080"
"tcp/65536"
"tcp/65535"
"icmp/echo-request,3/4, 5"
"icmp6/packet-too-big/0"
"protocol/255"
"protocol/256"
"gre/1"
"udp/53,tcp/53"
"0123456789012345678901234567890123456789012345678901234567890123"
"#;
const NAMES: [&str; 5] = ["nmae", "Name", "", "a b", "name"];

fn value(written: &str) -> Value {
    let table: Table = format!("value = {written}").parse().unwrap_or_else(|error| panic!("{written}: {error}"));
    table["value"].clone()
}

pub fn mistakes() -> Vec<Mistake> {
    let replacements = VALUES.trim().lines().map(|written| Mistake::Replace(value(written)));
    [Mistake::Remove].into_iter().chain(NAMES.map(Mistake::Rename)).chain(replacements).collect()
}
