//! What GPUs can do, by the names of their models.
//!
//! The figures are 16-bit floating-point operations of the tensor cores with accumulation in 32 bits, dense, in TFLOPS. Each
//! has its source here, with the figure as that prints it, which is one of
//!
//! - `dense`: as it is here;
//! - `sparse`: of tensor cores where half of one side's numbers are zero, which is twice the dense figure;
//! - `plain`: of a card without tensor cores.
//!
//! | model | printed | as | in |
//! |---|---|---|---|
//! | B200 | 4500 | sparse | data sheet "DGX and HGX B200", figures of one GPU |
//! | GB200 | 5000 | sparse | data sheet "GB200 NVL72", figures of one GPU |
//! | RTX 5090 | 209.5 | dense | white paper "RTX Blackwell GPU Architecture", with FP32 accumulate |
//! | H200 | 1979 | sparse | data sheet "H200 Tensor Core GPU", SXM |
//! | H200 NVL | 1671 | sparse | data sheet "H200 Tensor Core GPU", NVL |
//! | GH200 | 1979 | sparse | data sheet "GH200 Grace Hopper Superchip" |
//! | H100 | 1979 | sparse | data sheet "H100 Tensor Core GPU", SXM |
//! | H100 NVL | 1671 | sparse | data sheet "H100 Tensor Core GPU", NVL |
//! | H100 PCIe | 1513 | sparse | data sheet "H100 Tensor Core GPU", its edition with PCIe |
//! | H800 | 1979 | sparse | that of the H100, from which it differs in FP64 and NVLink |
//! | H800 PCIe | 1513 | sparse | that of the H100 with PCIe, from which it differs in FP64 and NVLink |
//! | H20 | 148 | dense | its product brief |
//! | L40S | 362.05 | dense | data sheet "L40S" |
//! | L40 | 181.05 | dense | data sheet "L40" |
//! | L20 | 119.5 | dense | its product brief |
//! | L4 | 242 | sparse | data sheet "L4 Tensor Core GPU" |
//! | RTX 6000 Ada | 728.5 | sparse | white paper "Ada GPU Architecture" for professional graphics |
//! | RTX 4090 | 165.2 | dense | white paper "Ada GPU Architecture", with FP32 accumulate |
//! | RTX 4080 | 97.5 | dense | white paper "Ada GPU Architecture", 16 GB, with FP32 accumulate |
//! | A100 | 312 | dense | data sheet "A100 Tensor Core GPU", SXM and PCIe |
//! | A800 | 312 | dense | that of the A100, from which it differs in NVLink |
//! | A30 | 165 | dense | data sheet "A30 Tensor Core GPU" |
//! | A40 | 149.7 | dense | data sheet "A40" |
//! | A10 | 125 | dense | data sheet "A10 Tensor Core GPU" |
//! | A10G | 70 | dense | the brief of the card that one cloud has of it |
//! | A2 | 18 | dense | data sheet "A2 Tensor Core GPU" |
//! | RTX A6000 | 309.7 | sparse | data sheet "RTX A6000" |
//! | RTX A5000 | 222.2 | sparse | data sheet "RTX A5000" |
//! | RTX A4000 | 153.4 | sparse | data sheet "RTX A4000" |
//! | RTX 3090 | 71 | dense | white paper "Ampere GA102 GPU Architecture", with FP32 accumulate |
//! | RTX 3080 | 59.5 | dense | white paper "Ampere GA102 GPU Architecture", 10 GB, with FP32 accumulate |
//! | T4 | 65 | dense | data sheet "T4 Tensor Core GPU" |
//! | V100 | 125 | dense | data sheet "V100 Tensor Core GPU", SXM2 |
//! | V100 PCIe | 112 | dense | data sheet "V100 Tensor Core GPU", PCIe |
//! | V100S | 130 | dense | data sheet "V100 Tensor Core GPU", V100S |
//! | P100 | 21.2 | plain | data sheet "Tesla P100", NVLink |
//! | P100 PCIe | 18.7 | plain | data sheet "Tesla P100", PCIe |
//!
//! A model whose documents disagree with each other (the A16) is left out: what is not known is refused, and an operator may
//! name it.

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
    ("RTX 6000 Ada", &["NVIDIA RTX 6000 Ada Generation"], 364_250),
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
    ("A2", &["NVIDIA A2"], 18_000),
    ("RTX A6000", &["NVIDIA RTX A6000"], 154_850),
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
    use crate::manifest::quantity;

    /// The rows of the table above: model, what is printed and as what.
    fn sources() -> Vec<(String, String, String)> {
        let lines = include_str!("models.rs").lines();
        let rows =
            lines.filter_map(|line| line.strip_prefix("//! | ")).filter(|row| !row.starts_with("model"));
        let cells = |row: &str| row.split(" | ").map(str::to_owned).collect::<Vec<_>>();
        let rows = rows.map(cells).map(|cells| match &cells[..] {
            [model, printed, class, source] if 4 < source.len() => {
                (model.clone(), printed.clone(), class.clone())
            }
            other => panic!("{other:?} is no row"),
        });
        rows.collect()
    }

    #[test]
    fn every_figure_is_that_of_its_source() {
        let stated = sources().into_iter().map(|(model, printed, class)| {
            let printed = quantity::milli_tflops(&printed).unwrap();
            let dense = match class.as_str() {
                "dense" | "plain" => printed.0,
                "sparse" => printed.0 / 2,
                other => panic!("{model} is {other}"),
            };
            (model, dense)
        });
        let known = BUILT_IN.iter().map(|(short, _, milli)| ((*short).to_owned(), *milli));
        assert_eq!(stated.collect::<Vec<_>>(), known.collect::<Vec<_>>());
    }

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
