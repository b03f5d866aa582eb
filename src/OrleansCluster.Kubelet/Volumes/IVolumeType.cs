using System.Text.Json;
using OrleansCluster.Kubelet.ControlPlane;
using OrleansCluster.Kubelet.Pods;
using OrleansCluster.Kubelet.Variables;

namespace OrleansCluster.Kubelet.Volumes;

/// <summary>
/// One type of volume. A new type is one class and one line in <see cref="PodVolumes"/>. Instances are shared by all pods and hold no state: what must be
/// remembered is on disk, below <see cref="VolumeRequest.Directory"/>.
/// </summary>
internal interface IVolumeType
{
    /// <summary>The member of a volume that names the type, for instance `emptyDir`.</summary>
    string Field { get; }

    /// <summary>Whether <see cref="SetUpAsync"/> shall be repeated while the pod runs, because what it shows may change.</summary>
    bool Refreshes => false;

    /// <summary>Makes the volume and returns the node's path of it. Repeats must be harmless and keep what containers wrote.</summary>
    /// <exception cref="VolumeException">It cannot be made; tried again later.</exception>
    Task<string> SetUpAsync(VolumeRequest request, JsonElement source, CancellationToken cancellationToken);
}

/// <summary>What a volume type works with.</summary>
/// <param name="Pod">The pod.</param>
/// <param name="Facts">What the node knows of the pod.</param>
/// <param name="Directory">The volume's own directory; not yet made.</param>
/// <param name="Objects">ConfigMaps and Secrets.</param>
/// <param name="Materialise">False on hollow nodes: references are checked, nothing is written.</param>
internal sealed record VolumeRequest(PodDocument Pod, PodFacts Facts, string Directory, INodeObjects Objects, bool Materialise);

/// <summary>A volume cannot be made; the message is the text of the FailedMount event.</summary>
internal sealed class VolumeException(string message, Exception? inner = null) : Exception(message, inner);
