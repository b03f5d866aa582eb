using System.Text.Json;
using OrleansCluster.Kubelet.Pods;

namespace OrleansCluster.Kubelet.Volumes;

/// <summary>`emptyDir`: a directory that lives as long as the pod; in memory with `medium: Memory`, where the process may mount.</summary>
internal sealed class EmptyDirVolume : IVolumeType
{
    public string Field => "emptyDir";

    public Task<string> SetUpAsync(VolumeRequest request, JsonElement source, CancellationToken cancellationToken)
    {
        if (!request.Materialise || Directory.Exists(request.Directory))
            return Task.FromResult(request.Directory);
        Directory.CreateDirectory(request.Directory);
        if (source.ValueKind == JsonValueKind.Object && source.TryGetProperty("medium", out var medium) && medium.GetString() == "Memory")
            MountMemory(request.Directory, source);

        var group = request.Pod.Spec.SecurityContext.FsGroup;
        if (group is { } gid)
            Native.ChangeGroup(request.Directory, gid);
        AtomicFiles.SetMode(request.Directory, group is null ? 0b111_111_111 : 0b10_111_111_111);
        return Task.FromResult(request.Directory);
    }

    private static void MountMemory(string directory, JsonElement source)
    {
        long? size = source.TryGetProperty("sizeLimit", out var limit) && Amount.Whole(Amount.Parse(limit)) is > 0 and var bytes ? bytes : null;
        try
        {
            Native.MountTmpfs(directory, size, "0777");
        }
        catch (IOException)
        {
            // Without the right to mount it is an ordinary directory: slower, and it counts against the disk instead of memory.
        }
    }
}
