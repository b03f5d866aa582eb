using System.Collections.Frozen;
using OrleansCluster.Kubelet.ControlPlane;
using OrleansCluster.Kubelet.Pods;
using OrleansCluster.Kubelet.Variables;

namespace OrleansCluster.Kubelet.Volumes;

/// <summary>
/// The volumes of a node's pods, below each pod's directory:
/// <code>
///   DATA/nodes/NODE/pods/UID/volumes/TYPE/NAME
/// </code>
/// </summary>
internal sealed class PodVolumes(INodeObjects objects, TimeProvider time, bool materialise)
{
    private readonly FrozenDictionary<string, IVolumeType> _types = new IVolumeType[]
    {
        new EmptyDirVolume(),
        new HostPathVolume(),
        new ConfigMapVolume(time),
        new SecretVolume(time),
        new DownwardApiVolume(time),
        new ProjectedVolume(time),
    }.ToFrozenDictionary(type => type.Field, StringComparer.Ordinal);

    /// <summary>Whether any of the pod's volumes follows the API.</summary>
    public bool Refreshes(PodDocument pod) => pod.Spec.Volumes.Any(volume => TypeOf(volume)?.Refreshes == true);

    /// <summary>Makes all volumes. Returns the node's path of each.</summary>
    /// <exception cref="VolumeException">One cannot be made; the message names it as the FailedMount event does.</exception>
    public async Task<IReadOnlyDictionary<string, string>> SetUpAsync(
        PodDocument pod, PodFacts facts, string podDirectory, CancellationToken cancellationToken)
    {
        var paths = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var volume in pod.Spec.Volumes)
        {
            try
            {
                // A volume that names no type is an emptyDir.
                var type = volume.Sources.Count == 0 ? _types["emptyDir"] : TypeOf(volume)
                    ?? throw new VolumeException($"volume type {volume.Sources.Keys.First()} is not supported by this node");
                var request = new VolumeRequest(pod, facts, DirectoryOf(podDirectory, type, volume), objects, materialise);
                paths[volume.Name] = await type.SetUpAsync(request, volume.Sources.GetValueOrDefault(type.Field), cancellationToken);
            }
            catch (Exception exception) when (exception is VolumeException or IOException or UnauthorizedAccessException or TimeoutException or InvalidOperationException)
            {
                throw new VolumeException($"MountVolume.SetUp failed for volume \"{volume.Name}\" : {exception.Message}", exception);
            }
        }
        return paths;
    }

    /// <summary>Unmounts and removes everything of a pod's directory. Repeats are harmless.</summary>
    public void TearDown(string podDirectory)
    {
        if (!materialise || !Directory.Exists(podDirectory))
            return;
        if (OperatingSystem.IsLinux())
        {
            var prefix = Path.GetFullPath(podDirectory) + "/";
            // Deepest first. The second field is the mount point; blanks are written as \040.
            foreach (var mount in File.ReadLines("/proc/self/mounts")
                .Select(line => line.Split(' ')[1].Replace("\\040", " ", StringComparison.Ordinal))
                .Where(point => point.StartsWith(prefix, StringComparison.Ordinal))
                .OrderByDescending(point => point.Length)
                .ToList())
            {
                Native.Unmount(mount);
            }
        }
        Directory.Delete(podDirectory, recursive: true);
    }

    private IVolumeType? TypeOf(PodVolume volume)
    {
        foreach (var field in volume.Sources.Keys)
        {
            if (_types.TryGetValue(field, out var type))
                return type;
        }
        return null;
    }

    private static string DirectoryOf(string podDirectory, IVolumeType type, PodVolume volume) =>
        Path.Combine(podDirectory, "volumes", type.Field, volume.Name);
}
