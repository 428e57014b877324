//! `lbctl schema`: the language of this version as a JSON Schema, for editors.

use crate::{
    exit::{Exit, Failure},
    output::Output,
};

/// Prints the schema; it is JSON whatever the format of other data.
pub(crate) fn run(output: &Output) -> Result<Exit, Failure> {
    let text = format!("{:#}\n", lb_model::schema::schema());
    output.data(&text)?;
    Ok(Exit::Ok)
}
