//! A MusicXML document: its title, its list of parts, its parts.

use super::measure::PartReader;
use super::tree::{Element, Opened, Walker};
use crate::score::model::{Part, Score};
use crate::score::source::{Budget, MAX_MEASURES, MAX_PARTS, MAX_SOURCE_BYTES, SourceError, text};

/// Reads a score-partwise document.
///
/// # Errors
/// The first thing that is no MusicXML this reader takes, or beyond a limit, with its place.
pub fn read(source: &str) -> Result<Score, SourceError> {
    if source.starts_with("PK") || source.starts_with("UEsDB") {
        let what = "compressed MusicXML (.mxl) is not supported; send the score inside it as text";
        return Err(SourceError::at(1, 1, what));
    }
    if source.len() > MAX_SOURCE_BYTES {
        let what = format!("the source is larger than {MAX_SOURCE_BYTES} bytes");
        return Err(SourceError::at(1, 1, what));
    }
    let source = source.trim_start_matches('\u{feff}');
    let mut walker = Walker::new(source);
    let Some(root) = walker.open()? else {
        return Err(walker.error("the document is empty"));
    };
    match root.element.name.as_str() {
        "score-partwise" => {}
        "score-timewise" => {
            return Err(
                walker.error("score-timewise is not supported; convert it to score-partwise")
            );
        }
        other => {
            let what = format!("the root is <{}>, not <score-partwise>", short(other));
            return Err(walker.error(what));
        }
    }
    let mut score = Score {
        title: None,
        composer: None,
        parts: Vec::new(),
    };
    let mut names = Vec::new();
    let mut budget = Budget::default();
    if Walker::enters(&root) {
        while let Some(child) = walker.open()? {
            if child.element.name == "part" {
                let part = part(&mut walker, child, &names, &mut budget)?;
                score.parts.push(part);
                if score.parts.len() > MAX_PARTS {
                    return Err(walker.error(format!("there are more than {MAX_PARTS} parts")));
                }
            } else {
                let element = walker.tree(child)?;
                heading(&element, &mut score, &mut names);
            }
        }
    }
    score.parts.retain(|part| !part.measures.is_empty());
    if score.parts.is_empty() {
        return Err(walker.error("the score has no measures"));
    }
    if score.starts().is_none() {
        return Err(walker.error("the score is too long"));
    }
    score.settle_ties();
    Ok(score)
}

/// A child of the root that is no part.
fn heading(element: &Element, score: &mut Score, names: &mut Vec<(String, String)>) {
    match element.name.as_str() {
        "work" if score.title.is_none() => {
            score.title = element.text_of("work-title").and_then(text);
        }
        // The title of a movement says more than that of the work it belongs to.
        "movement-title" => score.title = text(&element.text).or_else(|| score.title.take()),
        "identification" => {
            let mut creators = element.all("creator");
            let composer = creators.find(|creator| creator.attribute("type") == Some("composer"));
            score.composer = composer.and_then(|creator| text(&creator.text));
        }
        "part-list" => {
            names.extend(element.all("score-part").filter_map(|part| {
                let name = part.text_of("part-name").and_then(text);
                Some((part.attribute("id")?.to_owned(), name.unwrap_or_default()))
            }));
        }
        _ => {}
    }
}

/// Reads a part measure by measure, so that only one measure's XML is in memory.
fn part(
    walker: &mut Walker<'_>,
    opened: Opened,
    names: &[(String, String)],
    budget: &mut Budget,
) -> Result<Part, SourceError> {
    let id = opened.element.attribute("id").unwrap_or_default();
    let name = names.iter().find(|(known, _)| known == id);
    let mut part = Part {
        name: name.map_or(String::new(), |(_, name)| name.clone()),
        measures: Vec::new(),
    };
    let mut reader = PartReader::default();
    if !Walker::enters(&opened) {
        return Ok(part);
    }
    while let Some(child) = walker.open()? {
        if child.element.name != "measure" {
            walker.skip(&child)?;
            continue;
        }
        if part.measures.len() >= MAX_MEASURES {
            return Err(walker.error(format!("a part has more than {MAX_MEASURES} measures")));
        }
        let element = walker.tree(child)?;
        let measure = reader.measure(&element, budget);
        part.measures
            .push(measure.map_err(|(place, what)| walker.error_at(place, what))?);
    }
    Ok(part)
}

/// A name from the source, cut so that it fits an error.
fn short(name: &str) -> String {
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(source: &str) -> String {
        read(source)
            .map(|score| format!("{score:?}"))
            .unwrap_err()
            .to_string()
    }

    fn note(inside: &str) -> String {
        format!(
            "<score-partwise><part id='P1'><measure number='1'><attributes><divisions>2</divisions>\
             </attributes>\n<note>{inside}</note></measure></part></score-partwise>"
        )
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let good = note("<pitch><step>C</step><octave>4</octave></pitch><duration>2</duration>");
        assert!(read(&good).is_ok());
        let doctype = "<?xml version='1.0'?>\n<!DOCTYPE score-partwise PUBLIC 'a' 'http://example.org/b.dtd'>\n";
        assert!(read(&format!("{doctype}{good}")).is_ok());
        for (source, part) in [
            ("PK\u{3}\u{4}", ".mxl"),
            ("<score-timewise/>", "score-timewise"),
            ("<opus/>", "<opus>"),
            ("<score-partwise/>", "no measures"),
            ("<score-partwise>", "ends in the middle"),
            ("<score-partwise></part>", "well-formed"),
            (
                "<!DOCTYPE s [<!ENTITY a 'b'>]><score-partwise/>",
                "internal subset",
            ),
            ("", "empty"),
        ] {
            assert!(wrong(source).contains(part), "{source}: {}", wrong(source));
        }
        let entity = "<score-partwise><work><work-title>&lol;</work-title></work></score-partwise>";
        assert!(wrong(entity).contains("&lol;"), "{}", wrong(entity));
        let deep = format!("<score-partwise>{}", "<a>".repeat(100));
        assert!(wrong(&deep).contains("deep"), "{}", wrong(&deep));
    }

    #[test]
    fn a_bad_note_is_found_by_line_and_column() {
        for (inside, part) in [
            ("<duration>2</duration>", "neither pitch nor rest"),
            (
                "<pitch><step>H</step><octave>4</octave></pitch><duration>2</duration>",
                "step",
            ),
            (
                "<pitch><step>C</step></pitch><duration>2</duration>",
                "octave",
            ),
            (
                "<pitch><step>C</step><alter>0.5</alter><octave>4</octave></pitch><duration>2</duration>",
                "alter",
            ),
            ("<rest/>", "duration"),
            ("<rest/><duration>0</duration>", "duration"),
            ("<rest/><duration>9999999999999</duration>", "duration"),
            ("<chord/><rest/><duration>1</duration>", "chord"),
        ] {
            let what = wrong(&note(inside));
            assert!(what.starts_with("line 2, column 1: "), "{what}");
            assert!(what.contains(part), "{inside}: {what}");
        }
    }
}
