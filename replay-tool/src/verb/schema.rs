//! `schema`: every type of event that this release knows, in every version, with its fields.

use purser_events::Layout;
use purser_events::event::{LAYOUTS, PAST_LAYOUTS};
use serde_json::{Value, json};

use crate::cli::{Output, SchemaArgs};
use crate::failure::{Exit, Failure};
use crate::{Console, render};

/// The shape of each layout by its name and version, as it was frozen with its golden bytes.
pub(crate) const SHAPES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

pub(crate) fn run(args: &SchemaArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut layouts: Vec<&Layout> = LAYOUTS.iter().chain(PAST_LAYOUTS).collect();
    layouts.sort();
    layouts.retain(|layout| {
        args.types.is_empty() || args.types.iter().any(|wanted| wanted.matches(layout.name))
    });
    match args.output {
        Output::Text => {
            for (number, layout) in layouts.iter().enumerate() {
                if number > 0 {
                    console.line(format_args!(""))?;
                }
                tell(layout, console)?;
            }
        }
        Output::Json => {
            let values = layouts.iter().map(|layout| {
                json!({
                    "number": layout.number,
                    "type": layout.name,
                    "version": layout.version,
                    "current": LAYOUTS.contains(layout),
                    "payload": payload_name(layout),
                    "shapes": shape(layout),
                })
            });
            console.line(format_args!("{}", render::pretty(&values.collect())))?;
        }
    }
    Ok(Exit::Ok)
}

/// The frozen shape of a layout.
fn shape(layout: &Layout) -> Value {
    let stem = format!("{}.v{}", layout.name, layout.version);
    let found = SHAPES.iter().find(|(name, _)| *name == stem);
    found.and_then(|(_, text)| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The name of the payload's own type: the last part of the event's name, in another spelling.
fn payload_name(layout: &Layout) -> String {
    let (_, last) = layout.name.split_once('.').unwrap_or(("", layout.name));
    // Violations are the same of whatever they are.
    let of_violation = last.strip_prefix("violation-");
    let of_gap = last.strip_prefix("enforcement-").filter(|rest| rest.starts_with("gap-"));
    let last = of_violation.or(of_gap).unwrap_or(last);
    let capital = |word: &str| {
        let mut chars = word.chars();
        chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect::<String>())
    };
    last.split('-').map(capital).collect()
}

fn tell(layout: &Layout, console: &mut Console<'_>) -> Result<(), Failure> {
    let past = if LAYOUTS.contains(layout) { "" } else { ", of the past" };
    let Layout { number, version, name } = layout;
    console.line(format_args!("{name}  {number:#06x} version {version}{past}"))?;
    let shape = shape(layout);
    let own = payload_name(layout);
    for field in fields(&shape[&own]) {
        console.line(format_args!("    {field}"))?;
    }
    let others = shape.as_object().into_iter().flatten().filter(|(name, _)| **name != own);
    for (name, shape) in others {
        match shape.get("STRUCT") {
            Some(_) => {
                console.line(format_args!("  {name}"))?;
                fields(shape).iter().try_for_each(|field| console.line(format_args!("    {field}")))?;
            }
            None => console.line(format_args!("  {name} = {}", words(shape)))?,
        }
    }
    Ok(())
}

/// The fields of a structure, each with its type.
fn fields(shape: &Value) -> Vec<String> {
    let fields = shape.get("STRUCT").and_then(Value::as_array).into_iter().flatten();
    let named = fields.flat_map(|field| field.as_object().into_iter().flatten());
    named.map(|(name, shape)| format!("{name}: {}", words(shape))).collect()
}

/// A type in words.
fn words(shape: &Value) -> String {
    let Value::Object(parts) = shape else {
        return shape.as_str().map_or_else(|| shape.to_string(), str::to_lowercase);
    };
    let Some((what, of)) = parts.iter().next() else { return String::new() };
    match what.as_str() {
        "TYPENAME" => of.as_str().unwrap_or_default().to_owned(),
        "OPTION" => format!("{} or null", words(of)),
        "SEQ" => format!("[{}]", words(of)),
        "NEWTYPESTRUCT" | "NEWTYPE" => words(of),
        "MAP" => format!("{{{}: {}}}", words(&of["KEY"]), words(&of["VALUE"])),
        "TUPLE" | "TUPLESTRUCT" => {
            let parts: Vec<String> = of.as_array().into_iter().flatten().map(words).collect();
            format!("({})", parts.join(", "))
        }
        "ENUM" => {
            let variants = of.as_object().into_iter().flatten().map(|(_, variant)| variant_words(variant));
            variants.collect::<Vec<_>>().join(" | ")
        }
        "STRUCT" => format!("{{ {} }}", fields(shape).join(", ")),
        _ => shape.to_string(),
    }
}

fn variant_words(variant: &Value) -> String {
    let Some((name, of)) = variant.as_object().and_then(|parts| parts.iter().next()) else {
        return variant.to_string();
    };
    match of {
        Value::String(unit) if unit == "UNIT" => name.clone(),
        of => format!("{name} {}", words(of)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_has_a_shape_with_its_payload() {
        for layout in LAYOUTS.iter().chain(PAST_LAYOUTS) {
            let shape = shape(layout);
            let own = shape.get(payload_name(layout));
            assert!(own.is_some(), "{} version {}: {shape}", layout.name, layout.version);
        }
    }
}
