"""Real TensorFlow Lite networks, of MediaPipe's package, give what Google's runtime gives."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from hago.accuracy import sqnr_db
from hago.frontend.tflite import import_tflite
from hago.prepare import prepare
from hago.realize import interpret
from tests.zoo.packages import MissingPackage, package_file

NETWORKS = (
    "face_detection/face_detection_short_range",
    "hand_landmark/hand_landmark_lite",
    "iris_landmark/iris_landmark",  # a parametric relu after each convolution
    "palm_detection/palm_detection_lite",  # linear resizes
    "pose_detection/pose_detection",  # sparse weights in half precision
)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_real_network_computes_the_same(name):
    try:
        path = package_file("mediapipe", f"modules/{name}.tflite")
    except MissingPackage as error:
        pytest.skip(str(error))
    module = prepare(import_tflite(path))
    google = Interpreter(model_path=str(path))
    google.allocate_tensors()
    (source,) = google.get_input_details()
    image = np.random.default_rng(0).uniform(size=source["shape"]).astype("float32")
    google.set_tensor(source["index"], image)
    google.invoke()
    actual = interpret(module, {str(module["main"].params[0].name): image})
    for place, value in zip(google.get_output_details(), actual, strict=True):
        # Float32 carries 24 bits, 144 dB; some sixty layers of sums in another order take a third.
        assert sqnr_db(google.get_tensor(place["index"]), value) > 96
