"""What in a picture speaks for a class: gradients, occlusion, and class activation maps."""

from convolens.visual.saliency.cam import Cam, eigen_cam, grad_cam, score_cam
from convolens.visual.saliency.figure import SaliencyMap, saliency_figure
from convolens.visual.saliency.gradient import gradient, guided_backprop, unit_gradient
from convolens.visual.saliency.integrated import Integrated, integrated_gradients
from convolens.visual.saliency.occlusion import occlusion

__all__ = [
    "Cam",
    "Integrated",
    "SaliencyMap",
    "eigen_cam",
    "grad_cam",
    "gradient",
    "guided_backprop",
    "integrated_gradients",
    "occlusion",
    "saliency_figure",
    "score_cam",
    "unit_gradient",
]
