using OrleansCluster.Kubelet.Volumes;

namespace OrleansCluster.Kubelet.Pods;

/// <summary>
/// The pods of a node on its own disk, so that a restarted agent works on with the control plane away.
/// <code>
///   DATA/nodes/NODE/pods/UID/pod.json        the pod as it was pushed last
///   DATA/nodes/NODE/pods/UID/volumes/…       see PodVolumes
///   DATA/nodes/NODE/pods/UID/containers/…    termination messages
/// </code>
/// </summary>
internal interface IPodStore
{
    /// <summary>The pod's directory, or null on a node that keeps nothing.</summary>
    string? DirectoryOf(string podUid);

    /// <summary>Keeps a pod; all of it or nothing.</summary>
    void Save(string podUid, ReadOnlySpan<byte> pod);

    /// <summary>All pods kept. Files that cannot be read are skipped and reported.</summary>
    IEnumerable<byte[]> Load(Action<string, Exception> unreadable);
}

/// <summary>Keeps nothing (hollow nodes).</summary>
internal sealed class NoPodStore : IPodStore
{
    public string? DirectoryOf(string podUid) => null;

    public void Save(string podUid, ReadOnlySpan<byte> pod)
    {
    }

    public IEnumerable<byte[]> Load(Action<string, Exception> unreadable) => [];
}

/// <summary>Keeps pods below a node's data directory.</summary>
internal sealed class DiskPodStore(string nodeDirectory) : IPodStore
{
    private const string FileName = "pod.json";

    private readonly string _pods = Path.Combine(nodeDirectory, "pods");

    public string? DirectoryOf(string podUid)
    {
        // Uids are made by the API server, but a path is not built from anything that could lead elsewhere.
        if (podUid.Length == 0 || podUid is "." or ".." || podUid.AsSpan().ContainsAny('/', '\\', '\0'))
            throw new ArgumentException($"\"{podUid}\" is not a uid.", nameof(podUid));
        return Path.Combine(_pods, podUid);
    }

    public void Save(string podUid, ReadOnlySpan<byte> pod)
    {
        var directory = DirectoryOf(podUid)!;
        Directory.CreateDirectory(_pods);
        // Secrets of pods lie below, in files that any user of a container may read: on the node only the agent's user may come by here.
        AtomicFiles.SetMode(_pods, 0b111_000_000);
        Directory.CreateDirectory(directory);
        var path = Path.Combine(directory, FileName);
        var staged = path + ".new";
        using (var file = new FileStream(staged, FileMode.Create, FileAccess.Write))
        {
            file.Write(pod);
        }
        File.Move(staged, path, overwrite: true);
    }

    public IEnumerable<byte[]> Load(Action<string, Exception> unreadable)
    {
        if (!Directory.Exists(_pods))
            yield break;
        foreach (var directory in Directory.GetDirectories(_pods))
        {
            var path = Path.Combine(directory, FileName);
            byte[] bytes;
            try
            {
                bytes = File.ReadAllBytes(path);
            }
            catch (IOException exception)
            {
                unreadable(path, exception);
                continue;
            }
            yield return bytes;
        }
    }
}
