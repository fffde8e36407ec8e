"""Amazon's model of topic rules, as botocore carries it.

Checks the documents of the folder given that CreateTopicRule takes against the model of its input, and
prints as JSON what members each action and the headers of a republish have, and which are required.
"""

import json
import pathlib
import sys

import botocore.loaders
import botocore.model
import botocore.validate

model = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("iot", "service-2"))
request = model.operation_model("CreateTopicRule").input_shape
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    document = json.loads(path.read_text())
    if "rule" in document:
        rule = {k: v for k, v in document["rule"].items() if k not in ("ruleName", "createdAt")}
        document = {"ruleName": document["rule"]["ruleName"], "topicRulePayload": rule}
    elif "sql" in document:
        document = {"ruleName": "bare", "topicRulePayload": document}
    elif "Resources" in document:
        continue
    report = botocore.validate.ParamValidator().validate(document, request)
    if report.has_errors():
        sys.exit(f"{path}: {report.generate_report()}")


def members(shape):
    return {name: name in shape.required_members for name in shape.members}


shapes = {name: members(shape) for name, shape in model.shape_for("Action").members.items()}
shapes["headers"] = members(model.shape_for("MqttHeaders"))
json.dump(shapes, sys.stdout)
