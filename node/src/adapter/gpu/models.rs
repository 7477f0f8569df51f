//! What GPUs can do, by the names of their models.
//!
//! The figures are 16-bit floating-point operations of the tensor cores with accumulation in 32 bits, dense. Where a source
//! gives the figure with sparsity alone, it is half of that. Cards without tensor cores have their plain 16-bit rate. They are
//! taken from NVIDIA's own documents, by generation:
//!
//! - Blackwell: data sheets "HGX B200" (36 PFLOPS for eight, sparse) and "GB200 NVL72" (10 for the two of a superchip, sparse);
//!   white paper "NVIDIA RTX Blackwell GPU Architecture", table of the RTX 5090.
//! - Hopper: data sheets "H100 Tensor Core GPU" (1,979, 1,671 and 1,513 for SXM, NVL and PCIe, sparse), "H200 Tensor Core GPU"
//!   (1,979 and 1,671), "GH200 Grace Hopper Superchip"; H800 and H20 as their product briefs have them.
//! - Ada: data sheets "L40S" (362.05), "L40" (181.05), "L4" (242, sparse) and "L20"; white papers "NVIDIA Ada GPU Architecture"
//!   2.01 (RTX 4090, 4080) and its edition for professional graphics (RTX 6000 Ada).
//! - Ampere: data sheets "A100" (312), "A30" (165), "A40" (149.7), "A10" (125), "A16" (17.9 for each of four), "A2" (18), RTX
//!   A6000, A5000 and A4000 (half of the sparse figure); white paper "NVIDIA Ampere GA102" (RTX 3090, 3080). The A10G is a part
//!   of one cloud: the figure is that of its offerer.
//! - Turing, Volta, Pascal: data sheets "T4" (65), "V100" (125, 112 and 130 for SXM2, PCIe and V100S), "P100" (21.2 and 18.7).
//!
//! A model whose documents disagree with each other is left out: what is not known is refused, and an operator may name it.

use std::collections::BTreeMap;

use purser_events::MilliTflops;

/// A model: its short name, its names to the driver, thousandths of a TFLOPS.
type Row = (&'static str, &'static [&'static str], u64);

/// In the order of their generations, the newest first.
const BUILT_IN: &[Row] = &[
    ("B200", &["NVIDIA B200"], 2_250_000),
    ("GB200", &["NVIDIA GB200"], 2_500_000),
    ("RTX 5090", &["NVIDIA GeForce RTX 5090"], 209_500),
    ("H200", &["NVIDIA H200"], 989_500),
    ("H200 NVL", &["NVIDIA H200 NVL"], 835_500),
    ("GH200", &["NVIDIA GH200 480GB"], 989_500),
    ("H100", &["NVIDIA H100 80GB HBM3"], 989_500),
    ("H100 NVL", &["NVIDIA H100 NVL"], 835_500),
    ("H100 PCIe", &["NVIDIA H100 PCIe"], 756_500),
    ("H800", &["NVIDIA H800"], 989_500),
    ("H800 PCIe", &["NVIDIA H800 PCIe"], 756_500),
    ("H20", &["NVIDIA H20"], 148_000),
    ("L40S", &["NVIDIA L40S"], 362_050),
    ("L40", &["NVIDIA L40"], 181_050),
    ("L20", &["NVIDIA L20"], 119_500),
    ("L4", &["NVIDIA L4"], 121_000),
    ("RTX 6000 Ada", &["NVIDIA RTX 6000 Ada Generation"], 364_200),
    ("RTX 4090", &["NVIDIA GeForce RTX 4090"], 165_200),
    ("RTX 4080", &["NVIDIA GeForce RTX 4080"], 97_500),
    (
        "A100",
        &[
            "NVIDIA A100-SXM4-40GB",
            "NVIDIA A100-SXM4-80GB",
            "NVIDIA A100-PCIE-40GB",
            "NVIDIA A100 80GB PCIe",
            "A100-SXM4-40GB",
            "A100-PCIE-40GB",
        ],
        312_000,
    ),
    ("A800", &["NVIDIA A800-SXM4-80GB", "NVIDIA A800 80GB PCIe"], 312_000),
    ("A30", &["NVIDIA A30"], 165_000),
    ("A40", &["NVIDIA A40"], 149_700),
    ("A10", &["NVIDIA A10"], 125_000),
    ("A10G", &["NVIDIA A10G"], 70_000),
    ("A16", &["NVIDIA A16"], 17_900),
    ("A2", &["NVIDIA A2"], 18_000),
    ("RTX A6000", &["NVIDIA RTX A6000"], 154_800),
    ("RTX A5000", &["NVIDIA RTX A5000"], 111_100),
    ("RTX A4000", &["NVIDIA RTX A4000"], 76_700),
    ("RTX 3090", &["NVIDIA GeForce RTX 3090"], 71_000),
    ("RTX 3080", &["NVIDIA GeForce RTX 3080"], 59_500),
    ("T4", &["Tesla T4", "NVIDIA T4"], 65_000),
    ("V100", &["Tesla V100-SXM2-16GB", "Tesla V100-SXM2-32GB", "Tesla V100-SXM3-32GB"], 125_000),
    ("V100 PCIe", &["Tesla V100-PCIE-16GB", "Tesla V100-PCIE-32GB"], 112_000),
    ("V100S", &["Tesla V100S-PCIE-32GB"], 130_000),
    ("P100", &["Tesla P100-SXM2-16GB"], 21_200),
    ("P100 PCIe", &["Tesla P100-PCIE-16GB", "Tesla P100-PCIE-12GB"], 18_700),
];

/// What GPUs can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Models {
    /// By name in small letters, what the operator says.
    more: BTreeMap<String, MilliTflops>,
}

impl Models {
    /// The models that are known, and what an operator says of these names: that holds before what is known.
    #[must_use]
    pub fn with(more: impl IntoIterator<Item = (String, MilliTflops)>) -> Models {
        Models { more: more.into_iter().map(|(name, tflops)| (key(&name), tflops)).collect() }
    }

    /// What a model can do, by its short name or that of its driver, whatever the case of its letters; none if it is not
    /// known.
    #[must_use]
    pub fn tflops(&self, model: &str) -> Option<MilliTflops> {
        let model = key(model);
        let built_in = || {
            let is_it = |name: &str| key(name) == model;
            let row =
                BUILT_IN.iter().find(|(short, full, _)| is_it(short) || full.iter().any(|name| is_it(name)));
            row.map(|(.., milli)| MilliTflops(*milli))
        };
        self.more.get(&model).copied().or_else(built_in)
    }
}

/// The form in which names are compared.
pub(crate) fn key(name: &str) -> String {
    name.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_is_two_models() {
        let mut names = BTreeSet::new();
        for (short, full, milli) in BUILT_IN {
            for name in full.iter().chain([short]) {
                assert!(names.insert(key(name)), "{name}");
                assert_eq!(Models::default().tflops(name), Some(MilliTflops(*milli)));
            }
            assert!((1_000..=10_000_000).contains(milli), "{short}: {milli}");
        }
    }

    #[test]
    fn a_model_is_known_by_its_name_alone() {
        let models = Models::default();
        assert_eq!(models.tflops("nvidia a100-sxm4-80gb"), Some(MilliTflops(312_000)));
        assert_eq!(models.tflops("NVIDIA A100-SXM4-80GB MIG 1g.10gb"), None, "a part is no whole");
        assert_eq!(models.tflops(""), None);
    }

    #[test]
    fn an_operator_knows_better() {
        let models = Models::with([("t4".to_owned(), MilliTflops(1)), ("Fake".to_owned(), MilliTflops(2))]);
        assert_eq!(models.tflops("T4"), Some(MilliTflops(1)));
        assert_eq!(models.tflops("FAKE"), Some(MilliTflops(2)));
        assert_eq!(models.tflops("Tesla T4"), Some(MilliTflops(65_000)));
    }
}
