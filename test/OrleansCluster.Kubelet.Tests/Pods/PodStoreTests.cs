using OrleansCluster.Kubelet.Pods;

namespace OrleansCluster.Kubelet.Tests.Pods;

public sealed class PodStoreTests : IDisposable
{
    private readonly string _node = Directory.CreateTempSubdirectory("pod-store-").FullName;

    public void Dispose() => Directory.Delete(_node, recursive: true);

    [Fact]
    public void Pods_and_their_volumes_are_closed_to_others_on_the_node()
    {
        if (OperatingSystem.IsWindows())
            return;
        // A directory of an agent that did not look after it.
        Directory.CreateDirectory(Path.Combine(_node, "pods"));
        new DiskPodStore(_node).Save("uid", "{}"u8);
        Assert.Equal(
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Path.Combine(_node, "pods")));
    }

    [Theory]
    [InlineData("")]
    [InlineData("..")]
    [InlineData("../../etc")]
    [InlineData("a/b")]
    [InlineData("a\0b")]
    public void A_uid_that_would_lead_elsewhere_is_refused(string uid) =>
        Assert.Throws<ArgumentException>(() => new DiskPodStore(_node).DirectoryOf(uid));
}
