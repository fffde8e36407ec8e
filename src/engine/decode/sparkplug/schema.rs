//! The messages of Sparkplug B on the wire: numbers and types of the fields as the specification has
//! them (Eclipse Sparkplug 3.0, section 6.4.1). What it leaves to extensions is passed over.

use prost::Message;
use prost::Oneof;

/// A value of a simple type, before its type is looked at.
pub(super) enum Simple<'m> {
    Int(u32),
    Long(u64),
    Float(f32),
    Double(f64),
    Boolean(bool),
    Text(&'m str),
}

/// A value: the numbers of the simple types, in their order, then the types that only it may have.
macro_rules! value {
    (
        $name:ident:
        $int:tt $long:tt $float:tt $double:tt $boolean:tt $text:tt
        $(, $number:tt: $kind:ident $other:ident($of:ty))*
    ) => {
        #[derive(Clone, PartialEq, Oneof)]
        pub(super) enum $name {
            #[prost(uint32, tag = $int)]
            Int(u32),
            #[prost(uint64, tag = $long)]
            Long(u64),
            #[prost(float, tag = $float)]
            Float(f32),
            #[prost(double, tag = $double)]
            Double(f64),
            #[prost(bool, tag = $boolean)]
            Boolean(bool),
            #[prost(string, tag = $text)]
            Text(String),
            $(#[prost($kind, tag = $number)]
            $other($of),)*
        }

        impl $name {
            /// The value, where it is of a simple type.
            pub(super) fn simple(&self) -> Option<Simple<'_>> {
                match self {
                    $name::Int(value) => Some(Simple::Int(*value)),
                    $name::Long(value) => Some(Simple::Long(*value)),
                    $name::Float(value) => Some(Simple::Float(*value)),
                    $name::Double(value) => Some(Simple::Double(*value)),
                    $name::Boolean(value) => Some(Simple::Boolean(*value)),
                    $name::Text(value) => Some(Simple::Text(value)),
                    $($name::$other(_) => None,)*
                }
            }
        }
    };
}

value!(
    MetricValue: "10" "11" "12" "13" "14" "15",
    "16": bytes Bytes(Vec<u8>),
    "17": message DataSet(DataSet),
    "18": message Template(Template)
);
value!(
    PropertyValue: "3" "4" "5" "6" "7" "8",
    "9": message Set(PropertySet),
    "10": message Sets(PropertySetList)
);
value!(ElementValue: "1" "2" "3" "4" "5" "6");
value!(ParameterValue: "3" "4" "5" "6" "7" "8");

#[derive(Clone, PartialEq, Message)]
pub(super) struct Payload {
    #[prost(uint64, optional, tag = "1")]
    pub(super) timestamp: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    pub(super) metrics: Vec<Metric>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) seq: Option<u64>,
    #[prost(string, optional, tag = "4")]
    pub(super) uuid: Option<String>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub(super) body: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) alias: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    pub(super) datatype: Option<u32>,
    #[prost(bool, optional, tag = "5")]
    pub(super) is_historical: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    pub(super) is_transient: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub(super) is_null: Option<bool>,
    #[prost(message, optional, tag = "8")]
    pub(super) metadata: Option<MetaData>,
    #[prost(message, optional, tag = "9")]
    pub(super) properties: Option<PropertySet>,
    #[prost(oneof = "MetricValue", tags = "10, 11, 12, 13, 14, 15, 16, 17, 18")]
    pub(super) value: Option<MetricValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetaData {
    #[prost(bool, optional, tag = "1")]
    pub(super) is_multi_part: Option<bool>,
    #[prost(string, optional, tag = "2")]
    pub(super) content_type: Option<String>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) size: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    pub(super) seq: Option<u64>,
    #[prost(string, optional, tag = "5")]
    pub(super) file_name: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub(super) file_type: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub(super) md5: Option<String>,
    #[prost(string, optional, tag = "8")]
    pub(super) description: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PropertySet {
    #[prost(string, repeated, tag = "1")]
    pub(super) keys: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    pub(super) values: Vec<Property>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PropertySetList {
    #[prost(message, repeated, tag = "1")]
    pub(super) sets: Vec<PropertySet>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Property {
    #[prost(uint32, optional, tag = "1")]
    pub(super) kind: Option<u32>,
    #[prost(bool, optional, tag = "2")]
    pub(super) is_null: Option<bool>,
    #[prost(oneof = "PropertyValue", tags = "3, 4, 5, 6, 7, 8, 9, 10")]
    pub(super) value: Option<PropertyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DataSet {
    #[prost(string, repeated, tag = "2")]
    pub(super) columns: Vec<String>,
    #[prost(uint32, repeated, packed = "false", tag = "3")]
    pub(super) types: Vec<u32>,
    #[prost(message, repeated, tag = "4")]
    pub(super) rows: Vec<Row>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Row {
    #[prost(message, repeated, tag = "1")]
    pub(super) elements: Vec<Element>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Element {
    #[prost(oneof = "ElementValue", tags = "1, 2, 3, 4, 5, 6")]
    pub(super) value: Option<ElementValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Template {
    #[prost(string, optional, tag = "1")]
    pub(super) version: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub(super) metrics: Vec<Metric>,
    #[prost(message, repeated, tag = "3")]
    pub(super) parameters: Vec<Parameter>,
    #[prost(string, optional, tag = "4")]
    pub(super) template_ref: Option<String>,
    #[prost(bool, optional, tag = "5")]
    pub(super) is_definition: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Parameter {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) kind: Option<u32>,
    #[prost(oneof = "ParameterValue", tags = "3, 4, 5, 6, 7, 8")]
    pub(super) value: Option<ParameterValue>,
}
