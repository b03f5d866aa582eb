using System.Text.Json;

namespace OrleansCluster.Kubelet.Volumes;

/// <summary>`hostPath`: a path of the node.</summary>
internal sealed class HostPathVolume : IVolumeType
{
    public string Field => "hostPath";

    public Task<string> SetUpAsync(VolumeRequest request, JsonElement source, CancellationToken cancellationToken)
    {
        var path = source.GetProperty("path").GetString()!;
        if (!request.Materialise)
            return Task.FromResult(path);
        switch (source.TryGetProperty("type", out var type) ? type.GetString() ?? "" : "")
        {
            case "":
                // No check is asked for; an engine makes a directory of what is missing.
                if (!Path.Exists(path))
                    Directory.CreateDirectory(path);
                break;
            case "DirectoryOrCreate":
                Require(!File.Exists(path), path, "a directory");
                Directory.CreateDirectory(path);
                break;
            case "Directory":
                Require(Directory.Exists(path), path, "a directory");
                break;
            case "FileOrCreate":
                Require(!Directory.Exists(path), path, "a file");
                if (!File.Exists(path))
                    File.Create(path).Dispose();
                break;
            case "File":
                Require(File.Exists(path) && Kind(path) == FileAttributes.None, path, "a file");
                break;
            case "Socket":
                Require(Path.Exists(path) && !Directory.Exists(path), path, "a socket file");
                break;
            case "CharDevice" or "BlockDevice":
                Require(Kind(path) == FileAttributes.Device, path, "a device");
                break;
            case var other:
                throw new VolumeException($"unknown hostPath type: {other}");
        }
        return Task.FromResult(path);
    }

    private static FileAttributes Kind(string path)
    {
        var info = new FileInfo(path);
        return info.Exists && info.Attributes.HasFlag(FileAttributes.Device) ? FileAttributes.Device
            : info.Exists && !info.Attributes.HasFlag(FileAttributes.Directory) ? FileAttributes.None
            : FileAttributes.Directory;
    }

    private static void Require(bool holds, string path, string what)
    {
        if (!holds)
            throw new VolumeException($"hostPath type check failed: {path} is not {what}");
    }
}
