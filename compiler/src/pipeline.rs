//! The pipeline as data: which passes run, in which order, and why there.

use mlc_ir::{Module, Stage};

use crate::passes::{
    PassError, balance, block_detect, canonicalise, commitment_placement, constant_fold, cse, dce, expand_norm,
    find_groups, find_norm, fold_norm, layering, lookup_fuse, quantise, range_analysis,
};
use crate::plan::QuantPlan;

/// A pass: a module in, a module out.
#[derive(Clone, Copy)]
pub struct Pass {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    run: fn(Module, &QuantPlan) -> Result<Module, PassError>,
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every pass.
pub const PASSES: &[Pass] = &[
    Pass {
        name: "canonicalise",
        summary: "one spelling of each thing; views that do nothing go",
        run: |m, _| canonicalise::canonicalise(m),
    },
    Pass {
        name: "constant-fold",
        summary: "operations on weights and constants become weights and constants",
        run: |m, _| constant_fold::constant_fold(m),
    },
    Pass {
        name: "cse",
        summary: "equal operations on equal operands happen once",
        run: |m, _| cse::cse(m),
    },
    Pass {
        name: "dce",
        summary: "what no output needs goes",
        run: |m, _| dce::dce(m),
    },
    Pass {
        name: "find-norm",
        summary: "row norms that exporters spell out become norms",
        run: |m, _| find_norm::find_norm(m),
    },
    Pass {
        name: "find-groups",
        summary: "keys and values that exporters repeat for every head are read by all of them",
        run: |m, _| find_groups::find_groups(m),
    },
    Pass {
        name: "expand-norm",
        summary: "row norms become products and one function per row",
        run: |m, _| expand_norm::expand_norm(m),
    },
    Pass {
        name: "fold-norm",
        summary: "batch norms, scales and biases go into weights",
        run: |m, _| fold_norm::fold_norm(m),
    },
    Pass {
        name: "lookup-fuse",
        summary: "chains of elementwise functions become one table",
        run: |m, _| lookup_fuse::lookup_fuse(m),
    },
    Pass {
        name: "block-detect",
        summary: "repeated isomorphic blocks become one region with stacked weights",
        run: |m, _| block_detect::block_detect(m),
    },
    Pass {
        name: "balance",
        summary: "channels between linear maps get like ranges, by the plan",
        run: balance::balance,
    },
    Pass {
        name: "quantise",
        summary: "real numbers become integers with scales, by the plan",
        run: |m, plan| quantise::quantise(&m, plan),
    },
    Pass {
        name: "commitment-placement",
        summary: "products that become factors are committed, lookups that repeat go",
        run: |m, _| commitment_placement::commitment_placement(m),
    },
    Pass {
        name: "range-analysis",
        summary: "every bound, as tight as it is proved; refuses what could overflow",
        run: range_analysis::range_analysis,
    },
    Pass {
        name: "layering",
        summary: "nodes in the order of the lookups before them",
        run: |m, _| layering::layering(m),
    },
];

/// The passes of the real stage, in order: with them a module is *prepared*, and its values have the names of the plan.
pub const PREPARE: &[&str] = &[
    // Importers and front-ends spell things differently; every later pass matches one spelling.
    "canonicalise",
    // Before folding norms, which looks for weights, not for views of weights.
    "constant-fold",
    // Shared subexpressions would hide that a value has one use, and dead ones would count as uses.
    "cse",
    "dce",
    // Of importers, which spell norms out.
    "find-norm",
    // Of importers as well, which repeat shared heads.
    "find-groups",
    // Gains and biases of norms are then products and sums, which fold like any other.
    "expand-norm",
    // Before fusing functions: an affine step between a layer and its function belongs to the layer.
    "fold-norm",
    "lookup-fuse",
    // Folding leaves views and constants behind.
    "canonicalise",
    "dce",
    // Blocks are compared as they will be quantised: after all that could make two of them differ.
    "block-detect",
    // Factors are of the blocks that were found.
    "balance",
];

/// The passes from a prepared module to one that is lowered, in order.
pub const QUANTISE: &[&str] = &[
    "quantise",
    // Equal weights, constants and lookups, which quantisation makes one use at a time.
    "cse",
    // Needs every lookup in place; what it adds is analysed next.
    "commitment-placement",
    // Bounds are final from here on.
    "range-analysis",
    // Last: it fixes the order in which lowering writes equations.
    "layering",
    "dce",
];

/// The pass called `name`.
pub fn pass(name: &str) -> Result<Pass, PassError> {
    let found = PASSES.iter().find(|p| p.name == name);
    found.copied().ok_or_else(|| PassError::Unknown {
        name: name.to_owned(),
        known: PASSES.iter().map(|p| p.name).collect::<Vec<_>>().join(", "),
    })
}

/// Called after every pass with its name and its result (`--print-after`).
pub type AfterPass<'a> = &'a mut dyn FnMut(&str, &Module);

/// Runs passes in order. Debug builds verify the module after each.
pub fn run(mut module: Module, passes: &[&str], plan: &QuantPlan, after: AfterPass<'_>) -> Result<Module, PassError> {
    for name in passes {
        let pass = pass(name)?;
        module = (pass.run)(module, plan)?;
        after(name, &module);
        debug_assert!(
            mlc_ir::verify::verify(&module).is_ok(),
            "after {name}: {}\n{module}",
            problems(&module)
        );
    }
    Ok(module)
}

fn problems(module: &Module) -> String {
    let found = mlc_ir::verify::verify(module).err().unwrap_or_default();
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A module of the real stage as calibration and quantisation see it: without factors in the plan as it is first measured.
pub fn prepare(module: Module, plan: &QuantPlan, after: AfterPass<'_>) -> Result<Module, PassError> {
    if module.stage != Stage::Real {
        return Err(PassError::Stage {
            pass: "prepare",
            expected: Stage::Real,
        });
    }
    run(module, PREPARE, plan, after)
}
