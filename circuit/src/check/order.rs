//! The order of determination: the circuit is a function of its inputs and weights.
//!
//! Every segment and every output is determined exactly once (a segment by an equation, a maximum or a private input; an
//! output by an equation), and only by cells that come before. Inside a repetition the order is (block, step): a
//! step of block l reads cells of the same repetition only at blocks below l, or at block l from earlier steps.

use alloc::{collections::BTreeSet, string::String, vec, vec::Vec};

use super::CheckError;
use super::form::{malformed, require};
use crate::{Access, AxisMap, Entry, InputKind, Left, Len, Read, SiteRef, Source, Step, VirtualSite};

/// A step with its repetition.
struct Placed<'a> {
    step: &'a Step,
    region: Option<(usize, u32)>,
}

/// Where a segment is determined.
#[derive(Clone, Copy)]
struct Place {
    time: usize,
    region: Option<usize>,
}

/// Checks an entry that is well-formed otherwise.
pub fn check(e: &Entry) -> Result<(), CheckError> {
    let steps = flatten(&e.steps, &e.name)?;
    let places = determine(e, &steps)?;
    let name_of = |s: SiteRef| -> String {
        match s {
            SiteRef::Segment(s) => e.segments[s as usize].name.clone(),
            SiteRef::Virtual(s) => e.sites[s as usize].name.clone(),
        }
    };
    for (time, placed) in steps.iter().enumerate() {
        let now = time + 1;
        let here = placed.region.map(|r| r.0);
        // Whether the step may read cells of `at` through a first coordinate `first`.
        let allowed = |at: Place, first: Option<&AxisMap>, has_block_axis: bool| {
            if here.is_none() || at.region != here {
                return at.time < now;
            }
            match first {
                Some(AxisMap::Before { iter: 0 }) => has_block_axis,
                Some(AxisMap::Affine { offset, parts }) if parts[..] == [(0, 1)] => {
                    has_block_axis && (*offset < 0 || (*offset == 0 && at.time < now))
                }
                _ => false,
            }
        };
        match placed.step {
            Step::Equation(q) => {
                let q = &e.equations[*q as usize];
                for r in q.all_reads() {
                    let Read {
                        source: Source::Lookup { site, .. },
                        access,
                        ..
                    } = r
                    else {
                        continue;
                    };
                    let at = match site {
                        SiteRef::Segment(s) => places[*s as usize],
                        // A virtual site is determined with its maximum and its subtrahend.
                        SiteRef::Virtual(v) => e.sites[*v as usize]
                            .index
                            .iter()
                            .filter_map(|t| t.segment())
                            .map(|s| places[s as usize])
                            .max_by_key(|p| p.time)
                            .unwrap_or(Place {
                                time: usize::MAX,
                                region: None,
                            }),
                    };
                    if !allowed(at, access.axes.first(), !q.out.is_empty()) {
                        return Err(CheckError::Order {
                            name: q.name.clone(),
                            source_name: name_of(*site),
                        });
                    }
                }
            }
            Step::Max { site } => {
                let s = &e.sites[*site as usize];
                let access = &s.index[1].access;
                let [_, source] = compared(s)?;
                if !allowed(places[source as usize], access.axes.first(), !s.axes.is_empty()) {
                    let source_name = name_of(SiteRef::Segment(source));
                    return Err(CheckError::Order {
                        name: s.name.clone(),
                        source_name,
                    });
                }
            }
            Step::Repeat { .. } => {}
        }
    }
    Ok(())
}

/// Where each segment is determined; every segment, output, equation and site exactly once.
fn determine(e: &Entry, steps: &[Placed<'_>]) -> Result<Vec<Place>, CheckError> {
    let mut places: Vec<Vec<Place>> = vec![Vec::new(); e.segments.len()];
    let mut outputs = vec![0usize; e.outputs.len()];
    for i in &e.inputs {
        if let InputKind::Private { segment } = i.kind {
            places[segment as usize].push(Place { time: 0, region: None });
        }
    }
    let (mut equations, mut sites) = (BTreeSet::new(), BTreeSet::new());
    for (time, placed) in steps.iter().enumerate() {
        let place = Place {
            time: time + 1,
            region: placed.region.map(|r| r.0),
        };
        let in_blocks = |axes: &[Len], name: &str| {
            let fits = placed
                .region
                .is_none_or(|(_, count)| axes.first() == Some(&Len::fixed(count as usize)));
            require(fits, name, "inside a repetition the first axis counts its blocks")
        };
        match placed.step {
            Step::Equation(q) => {
                let eq = e
                    .equations
                    .get(*q as usize)
                    .ok_or_else(|| malformed(&e.name, "a step names an unknown equation"))?;
                require(equations.insert(*q), &eq.name, "an equation is executed twice")?;
                in_blocks(&eq.out, &eq.name)?;
                match &eq.left {
                    Left::Cells(cells) => cells.iter().for_each(|(_, s)| places[*s as usize].push(place)),
                    Left::Output(o) => outputs[*o as usize] += 1,
                }
                if let Some(o) = eq.finds() {
                    require(
                        placed.region.is_none(),
                        &eq.name,
                        "a greatest score is found in a repetition",
                    )?;
                    outputs[o as usize] += 1;
                }
            }
            Step::Max { site } => {
                let s = e
                    .sites
                    .get(*site as usize)
                    .ok_or_else(|| malformed(&e.name, "a step names an unknown site"))?;
                require(sites.insert(*site), &s.name, "a site is executed twice")?;
                in_blocks(&s.axes, &s.name)?;
                let m = &s.index[0];
                let [maximum, _] = compared(s)?;
                let axes = &e.segments[maximum as usize].axes;
                let leading = axes.len() <= s.axes.len() && m.access == Access::identity(axes.len());
                require(
                    leading && axes[..] == s.axes[..axes.len()],
                    &s.name,
                    "a maximum is indexed by the leading axes of its site",
                )?;
                in_blocks(axes, &s.name)?;
                places[maximum as usize].push(place);
            }
            Step::Repeat { .. } => {}
        }
    }
    require(
        equations.len() == e.equations.len(),
        &e.name,
        "an equation is never executed",
    )?;
    require(sites.len() == e.sites.len(), &e.name, "a site is never executed")?;
    for (o, &times) in e.outputs.iter().zip(&outputs) {
        if times != 1 {
            return Err(CheckError::Determined {
                name: o.name.clone(),
                times,
            });
        }
    }
    let mut out = Vec::with_capacity(places.len());
    for (s, p) in e.segments.iter().zip(&places) {
        match p[..] {
            [place] => out.push(place),
            _ => {
                return Err(CheckError::Determined {
                    name: s.name.clone(),
                    times: p.len(),
                });
            }
        }
    }
    Ok(out)
}

/// The maximum and what it is compared with; `form` has checked that they are the first two terms.
fn compared(s: &VirtualSite) -> Result<[u16; 2], CheckError> {
    s.compared()
        .ok_or_else(|| malformed(&s.name, "a virtual index compares two segments"))
}

/// The steps in order, each with its repetition; repetitions do not nest.
fn flatten<'a>(steps: &'a [Step], name: &str) -> Result<Vec<Placed<'a>>, CheckError> {
    let mut out = Vec::new();
    for (region, s) in steps.iter().enumerate() {
        match s {
            Step::Repeat { count, steps } => {
                require(*count >= 1, name, "a repetition without blocks")?;
                require(
                    !steps.iter().any(|s| matches!(s, Step::Repeat { .. })),
                    name,
                    "repetitions do not nest",
                )?;
                out.extend(steps.iter().map(|step| Placed {
                    step,
                    region: Some((region, *count)),
                }));
            }
            step => out.push(Placed { step, region: None }),
        }
    }
    Ok(out)
}
